// Winograd's F(2x2, 3x3) on the CPU: 3x3 convolutions of stride 1 with 16 products for 4 outputs instead of 36.
//
// With the transforms of Lavin and Gray (2016), for each tile of 2x2 outputs and the 4x4 inputs d that it reads
//   y = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ d B) ] A
// where ⊙, summed over input channels, is a matrix product for each of the 16 points. The attentions fold into the
// operands: c scales d, Σ_k q_nkt W_k takes the place of w, f scales y. All additions of the transforms are of two or
// three terms with factors 1 and 1/2, which is why the result is about as exact as a plain sum.
#pragma once

#include "engine/conv/epilogue.h"
#include "kernels/conv_shape.h"

namespace omniconv::conv {

/// Whether it is worth while in this build: its products are written for the registers of AVX-512.
#ifdef __AVX512F__
inline constexpr bool winograd_pays = true;
#else
inline constexpr bool winograd_pays = false;
#endif

/// Whether the two functions below compute this shape: 3x3, stride and dilation 1, one group, padding up to 2, channels
/// in multiples of 16.
bool winograd_takes(const ConvShape& shape);

/// output [N, OH, OW, O] = epilogue(f ⊙ conv(x ⊙ c, Σ_k q_k ⊙ W_k)). weight [K, O, 3, 3, I].
void winograd_forward(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                      const float* weight, const Epilogue<float>& epilogue, float* output);

/// d_input (+)= c ⊙ conv_transpose(f ⊙ d_output, Σ_k q W_k); with weighted_channel also C [N, I] = Σ_p x ⊙ dx_conv,
/// which needs input.
void winograd_data_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                            const float* weight, const float* d_output, float* d_input, bool accumulate,
                            float* weighted_channel);

}  // namespace omniconv::conv
