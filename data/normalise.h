// Images as networks take them.
#pragma once

#include "data/images.h"
#include "engine/tensor.h"

namespace omniconv {

/// The images of `set` normalised as in training, (pixel / 255 - mean) / standard deviation of each channel, on the
/// device: [count, extent, extent, 3] of f32 or f64. @throws Error unless each label has its image of 3 extent² bytes.
Tensor normalise(const ImageSet& set, DType dtype);

}  // namespace omniconv
