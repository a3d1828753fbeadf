// Algorithms B and C on tensor cores, in bf16 and f16: those of their kernels that need memory to work in.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/half.h"
#include "kernels/simt/stream.h"

namespace omniconv::conv {

/// B: d_weight [K, O, R, S, I] (+)= Σ_n q D_n and weighted_kst [N, K, R·S] = Q; either may be nullptr.
template <class Half>
void tensor_core_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                                 const Half* weight, const Half* d_output, float* d_weight, bool accumulate,
                                 float* weighted_kst, Stream stream);

/// C: output = y, and unless nullptr the moments of its channels (od_conv_summed_mma_moments).
template <class Half>
void summed_tensor_core_forward(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                                const Half* weight, Half* output, float* moments, Stream stream);

/// C: d_input (+)= dx, weighted_channel [N, H·W, I] whose pixels add up to C, and weighted_kst [N, K, R·S] = Q as a
/// by-product; each may be nullptr.
template <class Half>
void summed_tensor_core_data_gradient(const ConvShape& shape, const AttentionValues<float>& attention,
                                      const Half* input, const Half* weight, const Half* d_output, Half* d_input,
                                      bool accumulate, float* weighted_channel, float* weighted_kst, Stream stream);

/// C: d_weight (+)= Σ_n q D_n.
template <class Half>
void summed_tensor_core_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention,
                                        const Half* input, const Half* d_output, float* d_weight, bool accumulate,
                                        Stream stream);

}  // namespace omniconv::conv
