// Moments of the channels of a tensor, as whoever computed it left them for the norm behind.
#pragma once

#include "engine/tensor.h"
#include "kernels/moments.h"

namespace omniconv {

struct Moments {
  kernels::MomentParts parts;
  Tensor values;  ///< [parts, 2, C] in the type that sums have; undefined where nobody left any
};

}  // namespace omniconv
