#include "kernels/augment.h"

#include "kernels/error.h"
#include "kernels/half.h"
#include "kernels/philox.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {
namespace {

#if OMNICONV_CUDA
constexpr unsigned threads_per_image = 256;
#else
constexpr unsigned threads_per_image = 1;
#endif

template <class T>
struct Gather {
  BatchShape shape;
  Normalisation normalisation;
  const std::uint8_t *images, *labels;
  const std::int32_t* indices;
  Variation variation;
  const Mix* mix;
  T* output;
  std::int32_t *output_labels, *other_labels;
};

/// The high half of a product is a uniform draw from 0..limit-1.
OMNI_DEVICE std::int64_t draw_below(std::uint32_t word, std::int64_t limit) {
  return static_cast<std::int64_t>((std::uint64_t{word} * static_cast<std::uint64_t>(limit)) >> 32);
}

/// One image as it is varied: where each of its pixels comes from.
class VariedImage {
 public:
  OMNI_DEVICE VariedImage(const BatchShape& shape, const Variation& v, const std::uint8_t* images, std::int64_t sample,
                          std::int64_t index)
      : shape_(shape),
        image_(images + (shape.stored == Stored::batch ? sample : index) * shape.channels * shape.height * shape.width),
        down_(v.down),
        right_(v.right),
        mirrored_(v.mirrored) {
    const auto draw = static_cast<std::uint64_t>(index);
    const std::uint64_t epoch = v.epoch != nullptr ? static_cast<std::uint64_t>(*v.epoch) : 0;
    const PhiloxWords words = Philox(v.seed, epoch).words(draw);
    if (v.crop) {
      down_ = draw_below(words.word[0], 2 * shape.padding + 1) - shape.padding;
      right_ = draw_below(words.word[1], 2 * shape.padding + 1) - shape.padding;
    }
    if (v.flip == Flip::random) mirrored_ = (words.word[2] & 1) != 0;
    if (v.flip == Flip::alternating) mirrored_ = ((Philox(v.seed, 0).words(draw).word[2] ^ epoch) & 1) != 0;
    if (v.cutout == 0) return;
    // The halves of the last word: centres need few bits.
    cut_top_ = draw_below(words.word[3] & 0xffff0000u, shape.height) - v.cutout / 2;
    cut_left_ = draw_below(words.word[3] << 16, shape.width) - v.cutout / 2;
    cut_ = v.cutout;
  }

  /// Offset of the pixel shown at (h, w) in a plane, `black` around the image, or `cut_out`.
  OMNI_DEVICE std::int64_t source(std::int64_t h, std::int64_t w) const {
    if (h >= cut_top_ && h < cut_top_ + cut_ && w >= cut_left_ && w < cut_left_ + cut_) return cut_out;
    const std::int64_t from_h = h + down_, from_w = (mirrored_ ? shape_.width - 1 - w : w) + right_;
    const bool inside = from_h >= 0 && from_h < shape_.height && from_w >= 0 && from_w < shape_.width;
    return inside ? from_h * shape_.width + from_w : black;
  }
  /// Channel c of what source() found, normalised.
  template <class Value>
  OMNI_DEVICE Value value(std::int64_t source, const Normalisation& n, std::int64_t c) const {
    if (source == cut_out) return Value(0);
    const Value pixel =
        source == black ? Value(0) : static_cast<Value>(image_[c * shape_.height * shape_.width + source]);
    return (pixel / Value(255) - static_cast<Value>(n.mean[c])) / static_cast<Value>(n.standard_deviation[c]);
  }

 private:
  static constexpr std::int64_t black = -1, cut_out = -2;

  const BatchShape& shape_;
  const std::uint8_t* image_;
  std::int64_t down_, right_;
  bool mirrored_;
  std::int64_t cut_top_ = 0, cut_left_ = 0, cut_ = 0;
};

/// A block makes one image.
template <class T>
OMNI_KERNEL void gather_kernel(OMNI_CONSTANT Gather<T> g) {
  using Value = compute_type_t<T>;
  const BatchShape& s = g.shape;
  const std::int64_t sample = simt::block_index().x;
  const bool mixes = g.mix != nullptr;
  const std::int64_t other = s.samples - 1 - sample;
  const std::int64_t index = g.indices[sample], other_index = g.indices[other];
  const VariedImage image(s, g.variation, g.images, sample, index);
  const VariedImage partner(s, g.variation, g.images, mixes ? other : sample, mixes ? other_index : index);
  const Mix mix = mixes ? *g.mix : Mix{};
  const bool has_box = mix.bottom > mix.top && mix.right > mix.left;
  const Value own_share = has_box ? Value(1) : static_cast<Value>(mix.own_share);
  T* const output = g.output + sample * s.height * s.width * s.channels;
  const int first = simt::thread_rank();
  for (std::int64_t i = first; i < s.height * s.width; i += threads_per_image) {
    const std::int64_t h = i / s.width, w = i % s.width;
    const auto y = static_cast<double>(h), x = static_cast<double>(w);
    const bool in_box = has_box && y >= mix.top && y < mix.bottom && x >= mix.left && x < mix.right;
    const std::int64_t source = image.source(h, w), partner_source = partner.source(h, w);
    for (std::int64_t c = 0; c < s.channels; ++c) {
      // Chosen by value: an address of either would leave registers.
      Value value = own_share * (in_box ? partner.value<Value>(partner_source, g.normalisation, c)
                                        : image.value<Value>(source, g.normalisation, c));
      if (own_share != Value(1))
        value += (Value(1) - own_share) * partner.value<Value>(partner_source, g.normalisation, c);
      output[i * s.channels + c] = static_cast<T>(value);
    }
  }
  if (first != 0) return;
  g.output_labels[sample] = g.labels[index];
  if (g.other_labels != nullptr) g.other_labels[sample] = g.labels[other_index];
}

}  // namespace

template <class T>
void gather_batch(const BatchShape& shape, const Normalisation& normalisation, const std::uint8_t* images,
                  const std::uint8_t* labels, const std::int32_t* indices, const Variation& variation, const Mix* mix,
                  T* output, std::int32_t* output_labels, std::int32_t* other_labels, Stream stream) {
  expect(shape.channels >= 1 && shape.channels <= 3, "augment", "expected 1 to 3 channels, got ", shape.channels);
  expect(shape.samples >= 0 && shape.height >= 1 && shape.width >= 1 && shape.padding >= 0, "augment",
         "expected images of at least 1 pixel and no negative padding, got padding ", shape.padding, " around shape ",
         std::vector{shape.samples, shape.channels, shape.height, shape.width});
  expect(variation.cutout >= 0, "augment", "expected a cutout of at least 0 pixels, got ", variation.cutout);
  simt::launch(
      gather_kernel<T>, {static_cast<unsigned>(shape.samples)}, {threads_per_image}, 0, stream,
      Gather<T>{shape, normalisation, images, labels, indices, variation, mix, output, output_labels, other_labels});
}

#define OMNICONV_INSTANTIATE(T)                                                                                   \
  template void gather_batch(const BatchShape&, const Normalisation&, const std::uint8_t*, const std::uint8_t*,   \
                             const std::int32_t*, const Variation&, const Mix*, T*, std::int32_t*, std::int32_t*, \
                             Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
