// A batch from images resident on the device: gather, crop, flip, normalise, u8 planes -> NHWC.
#pragma once

#include <cstdint>

#include "kernels/simt/stream.h"

namespace omniconv::kernels {

struct BatchShape {
  std::int64_t samples = 0;
  std::int64_t channels = 3, height = 32, width = 32;
  std::int64_t padding = 4;  ///< zero (black) pixels around the raw image from which crops come
};

/// Per-channel constants of the data set, in units of 1 (pixel / 255).
struct Normalisation {
  double mean[3] = {0.4914, 0.4822, 0.4465};
  double deviation[3] = {0.2023, 0.1994, 0.2010};
};

/// output[b, h, w, c] = (pixel / 255 - mean_c) / deviation_c, where pixel is that of image indices[b], with
/// `augment` shifted by a crop offset in [-padding, padding]² and mirrored with probability 1/2. Offsets and flip are
/// Philox(seed, stream = epoch, index = indices[b]), so they depend on nothing but seed, epoch and image.
/// images u8 [count, C, H, W], labels u8 [count], indices i32 [N]; output [N, H, W, C], output_labels i32 [N].
template <class T>
void gather_batch(const BatchShape& shape, const Normalisation& normalisation, const std::uint8_t* images,
                  const std::uint8_t* labels, const std::int32_t* indices, bool augment, std::uint64_t seed,
                  std::uint64_t epoch, T* output, std::int32_t* output_labels, Stream stream);

}  // namespace omniconv::kernels
