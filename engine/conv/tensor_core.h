// Algorithms B and C on tensor cores, in bf16 and f16: their kernels, with the memory those work in.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/half.h"
#include "kernels/simt/stream.h"

namespace omniconv::conv {

/// B: d_input (+)= dx and, unless nullptr, weighted_channel [N, I] = C. The forward direction needs no memory.
template <class Half>
void tensor_core_data_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                               const Half* weight, const Half* d_output, Half* d_input, bool accumulate,
                               float* weighted_channel, Stream stream);

/// B: d_weight [K, O, R, S, I] (+)= Σ_n q D_n and weighted_kst [N, K, R·S] = Q; either may be nullptr.
template <class Half>
void tensor_core_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                                 const Half* weight, const Half* d_output, float* d_weight, bool accumulate,
                                 float* weighted_kst, Stream stream);

/// C: output = y, and unless nullptr the moments of its channels (od_conv_summed_mma_moments).
template <class Half>
void summed_tensor_core_forward(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                                const Half* weight, Half* output, float* moments, Stream stream);

/// C: as B's, and Q as a by-product; each of d_input, weighted_channel and weighted_kst may be nullptr.
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
