// The weight gradient of a 3x3 kernel with 4x4 results on the CPU: the pixels of sixteen input channels stay in
// registers while all output channels pass, each giving its gradient at all nine taps.
#pragma once

#include "kernels/conv_shape.h"

namespace omniconv::conv {

/// Whether the function below computes this: 3x3, stride, padding and dilation 1, 4x4 pixels, channels in multiples of
/// 16, at most 4 kernels, one group.
bool streams_weight_gradient(const ConvShape& shape, std::int64_t kernels);

/// With D_n = conv_weight(x_n ⊙ c_n, f_n ⊙ d_output_n): d_weight_k (+)= Σ_n q_nk ⊙ D_n unless nullptr, and
/// weighted_kst [N, K, 9] = q_nkt Σ_oi D_n W_k at the tap, unless nullptr. weight [K, O, 3, 3, I] is read for the
/// latter.
void streamed_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                              const float* weight, const float* d_output, float* d_weight, bool accumulate,
                              float* weighted_kst);

}  // namespace omniconv::conv
