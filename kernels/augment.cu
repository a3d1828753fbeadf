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
  bool augment;
  Philox random;
  T* output;
  std::int32_t* output_labels;
};

/// A block makes one image.
template <class T>
OMNI_KERNEL void gather_kernel(Gather<T> g) {
  using Value = compute_type_t<T>;
  const BatchShape& s = g.shape;
  const std::int64_t sample = simt::block_index().x;
  const std::int64_t index = g.indices[sample];
  std::int64_t down = 0, right = 0;  // from an output pixel to the one it shows
  bool mirrored = false;
  if (g.augment) {
    const PhiloxWords words = g.random.words(static_cast<std::uint64_t>(index));
    const auto offsets = static_cast<std::uint64_t>(2 * s.padding + 1);
    // The high half of a product is a uniform draw from 0..offsets-1.
    down = static_cast<std::int64_t>((words.word[0] * offsets) >> 32) - s.padding;
    right = static_cast<std::int64_t>((words.word[1] * offsets) >> 32) - s.padding;
    mirrored = (words.word[2] & 1) != 0;
  }
  const std::uint8_t* const image = g.images + index * s.channels * s.height * s.width;
  T* const output = g.output + sample * s.height * s.width * s.channels;
  const int first = simt::thread_rank();
  for (std::int64_t i = first; i < s.height * s.width; i += threads_per_image) {
    const std::int64_t h = i / s.width, w = i % s.width;
    const std::int64_t from_h = h + down, from_w = (mirrored ? s.width - 1 - w : w) + right;
    const bool inside = from_h >= 0 && from_h < s.height && from_w >= 0 && from_w < s.width;
    for (std::int64_t c = 0; c < s.channels; ++c) {
      const Value pixel = inside ? static_cast<Value>(image[(c * s.height + from_h) * s.width + from_w]) : Value(0);
      output[i * s.channels + c] = static_cast<T>((pixel / Value(255) - static_cast<Value>(g.normalisation.mean[c])) /
                                                  static_cast<Value>(g.normalisation.deviation[c]));
    }
  }
  if (first == 0) g.output_labels[sample] = g.labels[index];
}

}  // namespace

template <class T>
void gather_batch(const BatchShape& shape, const Normalisation& normalisation, const std::uint8_t* images,
                  const std::uint8_t* labels, const std::int32_t* indices, bool augment, std::uint64_t seed,
                  std::uint64_t epoch, T* output, std::int32_t* output_labels, Stream stream) {
  expect(shape.channels >= 1 && shape.channels <= 3, "augment", "expected 1 to 3 channels, got ", shape.channels);
  expect(shape.samples >= 0 && shape.height >= 1 && shape.width >= 1 && shape.padding >= 0, "augment",
         "expected images of at least 1 pixel and no negative padding, got padding ", shape.padding, " around shape ",
         std::vector{shape.samples, shape.channels, shape.height, shape.width});
  simt::launch(gather_kernel<T>, {static_cast<unsigned>(shape.samples)}, {threads_per_image}, 0, stream,
               Gather<T>{shape, normalisation, images, labels, indices, augment, Philox(seed, epoch), output,
                         output_labels});
}

#define OMNICONV_INSTANTIATE(T)                                                                                       \
  template void gather_batch(const BatchShape&, const Normalisation&, const std::uint8_t*, const std::uint8_t*,       \
                             const std::int32_t*, bool, std::uint64_t, std::uint64_t, T*, std::int32_t*, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
