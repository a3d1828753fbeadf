// The weight gradient of algorithm B on the CPU for convolutions of one group: a sample's D stays in vector registers
// and is folded into the gradients of all kernels from there.
//
// A tile is a few output channels by up to 64 input channels at one tap. Its K weights and K gradients stay in the
// first-level cache while all samples pass, so D is never stored, and the gradients are read and written once per
// call, in their own layout. Taps in the padding are skipped. Work is cut by shape alone.
#pragma once

#include "kernels/conv_shape.h"

namespace omniconv::conv {

/// As blocked_weight_gradient; `weight` may be nullptr where weighted_kst is.
/// @throws nothing of its own; shape.params.groups must be 1.
void folded_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                            const float* weight, const float* d_output, float* d_weight, bool accumulate,
                            float* weighted_kst);

}  // namespace omniconv::conv
