// Algorithm C on the CPU in f32: for each tap, rows of scaled activations are gathered into a panel of cache size,
// without those in the padding, and meet the weights of each kernel in one library product. With K = 1 that is a
// convolution by one shared product. Work is cut by shape alone.
#pragma once

#include "kernels/conv_shape.h"

namespace omniconv::conv {

/// output [N, OH, OW, O] = f ⊙ conv(x ⊙ c, Σ_k q ⊙ W_k); weight [K, O, R, S, I/g].
void panel_forward(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                   const float* weight, float* output);

/// d_input (+)= dx_conv, weighted_kst [N, K, R·S] = Q; either may be nullptr.
void panel_data_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                         const float* weight, const float* d_output, float* d_input, bool accumulate,
                         float* weighted_kst);

/// d_weight (+)= Σ_n q D_n.
void panel_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                           const float* d_output, float* d_weight, bool accumulate);

}  // namespace omniconv::conv
