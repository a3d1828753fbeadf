// The weight gradient of ODConv on tensor cores, in bf16 and f16: algorithm B on CUDA.
//
// A block owns a tile of the gradients of up to four kernels, of three taps that lie one above the other, and walks
// over samples. The gradient D_n of a sample's own kernel is summed over its pixels in accumulators and folded into
// dW_k and T_nk at once; it is never stored. Because D_n is linear in f_n and c_n, they scale it there, in f32: the
// operands of the products are d_output and input as they are.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/half.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// Whether the kernel takes this shape: one group, channels that are multiples of 8, and tiles that fit the device's
/// shared memory.
bool od_conv_mma_weight_gradient_takes(const ConvShape& shape);

/// Floats of workspace that od_conv_mma_weight_gradient needs.
std::int64_t od_conv_mma_weight_gradient_workspace(const ConvShape& shape, std::int64_t kernels);

/// With D_n the weight gradient of sample n for conv(x ⊙ c, ·) against f ⊙ d_output:
///   d_weight[k] (+)= Σ_n q_nkt D_n                     [K, O, R, S, I], or nullptr
///   weighted_kst[n, k, t] = q_nkt Σ_{o,i} D_n W_k      [N, K, R·S] (Q), or nullptr
/// input [N, H, W, I], d_output [N, OH, OW, O] and weight [K, O, R, S, I] of Half lie at multiples of 16 bytes.
/// @throws Error unless od_conv_mma_weight_gradient_takes the shape.
template <class Half>
void od_conv_mma_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                                 const Half* d_output, const Half* weight, float* d_weight, bool accumulate,
                                 float* weighted_kst, float* workspace, Stream stream);

}  // namespace omniconv::kernels
