// A batch from images on the device: gather, vary, normalise, mix, u8 planes -> NHWC.
#pragma once

#include <cstdint>

#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// Which images lie where the kernel reads them.
enum class Stored {
  data_set,  ///< all of them: image i at place i
  batch,     ///< those of the batch alone: that of sample n at place n
};

struct BatchShape {
  std::int64_t samples = 0;
  std::int64_t channels = 3, height = 32, width = 32;
  std::int64_t padding = 4;  ///< zero (black) pixels around the raw image from which crops come
  Stored stored = Stored::data_set;
};

/// Per-channel constants of the data set, in units of 1 (pixel / 255).
struct Normalisation {
  double mean[3] = {0.4914, 0.4822, 0.4465};
  double standard_deviation[3] = {0.2023, 0.1994, 0.2010};
};

enum class Flip {
  never,
  random,       ///< with probability 1/2, anew in every epoch
  alternating,  ///< drawn for epoch 0, then the other way round in every epoch
};

/// How each image is varied by itself. Draws are Philox(seed, stream = epoch, index = image), so they depend on nothing
/// but seed, epoch and image.
struct Variation {
  bool crop = false;        ///< shifted by an offset in [-padding, padding]²
  Flip flip = Flip::never;  ///< mirrored left to right
  std::int64_t cutout = 0;  ///< side of a square of the data set's mean colour (0 once normalised), its centre
                            ///< anywhere in the image (DeVries & Taylor 2017); 0: none
  std::uint64_t seed = 0;
  const std::int64_t* epoch = nullptr;  ///< [1] on the device: changes between equal launches; nullptr: 0
  std::int64_t down = 0, right = 0;     ///< without `crop`: from a pixel to the one it shows
  bool mirrored = false;                ///< with Flip::never
};

/// How image n is mixed with its partner, image samples - 1 - n of the batch; lies in device memory, as five doubles.
struct Mix {
  double own_share = 1;                             ///< of the image itself in pixels and target
  double top = 0, bottom = 0, left = 0, right = 0;  ///< not empty: the box that shows the partner, unblended
};

/// output[b, h, w, c] = (pixel / 255 - mean_c) / standard_deviation_c, where pixel is that of image indices[b], varied;
/// with `mix` (device memory, or nullptr), either own_share · output + (1 - own_share) · partner's (mixup: Zhang et al.
/// 2018), or the partner's inside of the box (CutMix: Yun et al. 2019). other_labels (or nullptr) are the partners'.
/// images u8 [count, C, H, W], or [N, C, H, W] with Stored::batch; labels u8 [count], indices i32 [N]; output [N, H, W,
/// C], output_labels i32 [N].
template <class T>
void gather_batch(const BatchShape& shape, const Normalisation& normalisation, const std::uint8_t* images,
                  const std::uint8_t* labels, const std::int32_t* indices, const Variation& variation, const Mix* mix,
                  T* output, std::int32_t* output_labels, std::int32_t* other_labels, Stream stream);

}  // namespace omniconv::kernels
