#include "kernels/augment.h"

#include "kernels/philox.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {

namespace {

/// Where a sample's crop begins relative to the raw image, and whether it is mirrored.
struct Crop {
  std::int64_t top, left;
  bool flip;

  OMNI_HOST_DEVICE static Crop draw(const Philox& random, std::uint64_t index, std::int64_t padding) {
    const PhiloxWords words = random.words(index);
    const auto offsets = static_cast<std::uint64_t>(2 * padding + 1);
    // The high half of a product is a uniform draw from [0, offsets).
    return {static_cast<std::int64_t>((words.word[0] * offsets) >> 32) - padding,
            static_cast<std::int64_t>((words.word[1] * offsets) >> 32) - padding, (words.word[2] & 1) != 0};
  }
};

}  // namespace

template <class T>
void gather_batch(const BatchShape& shape, const Normalisation& normalisation, const std::uint8_t* images,
                  const std::uint8_t* labels, const std::int32_t* indices, bool augment, std::uint64_t seed,
                  std::uint64_t epoch, T* output, std::int32_t* output_labels, Stream stream) {
  const Philox random(seed, epoch);
  simt::for_each_index(shape.samples * shape.height, stream, [=] OMNI_HOST_DEVICE(std::int64_t row) {
    const std::int64_t sample = row / shape.height, h = row % shape.height;
    const std::int64_t index = indices[sample];
    const Crop crop =
        augment ? Crop::draw(random, static_cast<std::uint64_t>(index), shape.padding) : Crop{0, 0, false};
    const std::uint8_t* image = images + index * shape.channels * shape.height * shape.width;
    const std::int64_t source_h = h + crop.top;
    for (std::int64_t w = 0; w < shape.width; ++w) {
      const std::int64_t source_w = (crop.flip ? shape.width - 1 - w : w) + crop.left;
      const bool inside = source_h >= 0 && source_h < shape.height && source_w >= 0 && source_w < shape.width;
      for (std::int64_t c = 0; c < shape.channels; ++c) {
        const int pixel = inside ? image[(c * shape.height + source_h) * shape.width + source_w] : 0;
        output[(row * shape.width + w) * shape.channels + c] =
            static_cast<T>((pixel / 255.0 - normalisation.mean[c]) / normalisation.deviation[c]);
      }
    }
    if (h == 0) output_labels[sample] = labels[index];
  });
}

template void gather_batch(const BatchShape&, const Normalisation&, const std::uint8_t*, const std::uint8_t*,
                           const std::int32_t*, bool, std::uint64_t, std::uint64_t, float*, std::int32_t*, Stream);
template void gather_batch(const BatchShape&, const Normalisation&, const std::uint8_t*, const std::uint8_t*,
                           const std::int32_t*, bool, std::uint64_t, std::uint64_t, double*, std::int32_t*, Stream);

}  // namespace omniconv::kernels
