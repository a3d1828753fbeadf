// Algorithm C of the dynamic convolution on tensor cores, in bf16 and f16, for small images: no sample gets a kernel of
// its own. Products are those of the K kernels, dense over all samples, and q_nkt weighs what they sum up for a tap:
//   y_n = f_n ⊙ Σ_kt q_nkt Σ_i W_kt (x_n ⊙ c_n)
//
// Rows of a product are sorted by position: a tile has few positions, most often one or two, of many samples, and taps
// that lie in the padding there are skipped, a third of the work at 4x4. Scaled operands (x ⊙ c, f ⊙ d_output) are
// rounded once; sums, q and all else is f32.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/half.h"
#include "kernels/moments.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// Whether the kernels take this shape: one group, channels that are multiples of 8, at most 64 pixels of input, of
/// output and of a kernel.
bool od_conv_summed_mma_takes(const ConvShape& shape);
/// Throws Error unless they do.
void expect_od_conv_summed_mma_takes(const ConvShape& shape);

/// output [N, OH, OW, O] = f ⊙ conv(x ⊙ c, Σ_k q_k ⊙ W_k). input [N, H, W, I], weight [K, O, R, S, I], all of Half at
/// multiples of 16 bytes. moments [parts, 2, O], or nullptr: those of the output as it is stored, for a norm behind.
/// scaled_input: memory for x ⊙ c, as much as input; not used without channel attention.
/// @throws Error unless od_conv_summed_mma_takes the shape, here and in the gradients.
template <class Half>
void od_conv_summed_mma_forward(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                                const Half* weight, Half* output, float* moments, Half* scaled_input, Stream stream);

/// The parts that the moments are of: a warp's rows of the product.
MomentParts od_conv_summed_mma_moments(const ConvShape& shape);

/// Floats of workspace that od_conv_summed_mma_data_gradient needs where weighted_kst is wanted.
std::int64_t od_conv_summed_mma_data_gradient_workspace(const ConvShape& shape, std::int64_t kernels);

/// All that the product with the kernels gives of the gradients; whatever is a nullptr is not computed:
///   d_input [N, H, W, I] (+)= dx = c ⊙ conv_transpose(f ⊙ d_output, Σ_k q_k W_k)
///   weighted_channel [N, H·W, I] = x ⊙ dx, whose pixels add up to C, from dx before it is rounded
///   weighted_kst [N, K, R·S] = Q, from the sums that make up dx: no product of its own
/// scaled_gradient: memory for f ⊙ d_output, as much as d_output; not used without filter attention.
template <class Half>
void od_conv_summed_mma_data_gradient(const ConvShape& shape, const AttentionValues<float>& attention,
                                      const Half* input, const Half* weight, const Half* d_output, Half* d_input,
                                      bool accumulate, float* weighted_channel, float* weighted_kst,
                                      Half* scaled_gradient, float* workspace, Stream stream);

/// Floats of workspace that od_conv_summed_mma_weight_gradient needs.
std::int64_t od_conv_summed_mma_weight_gradient_workspace(const ConvShape& shape, std::int64_t kernels);

/// d_weight [K, O, R, S, I] (+)= Σ_n q_n D_n. scaled_input and scaled_gradient as above.
template <class Half>
void od_conv_summed_mma_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention,
                                        const Half* input, const Half* d_output, float* d_weight, bool accumulate,
                                        Half* scaled_input, Half* scaled_gradient, float* workspace, Stream stream);

}  // namespace omniconv::kernels
