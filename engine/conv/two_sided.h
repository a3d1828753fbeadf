// Algorithm D: ODConv as a linear layer. Patches scaled by c and s meet all kernels in one product; f and p combine the
// results: y = f Σ_k p_k (s c im2col(x)) W_kᵀ. One large library product per group, K times the arithmetic.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/simt/stream.h"

namespace omniconv::conv {

/// As dynamic_forward.
template <class T>
void two_sided_forward(const ConvShape& shape, const AttentionValues<T>& attention, const T* input, const T* weight,
                       T* output, Stream stream);

/// d_input (+)= dx_conv.
template <class T>
void two_sided_data_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* weight,
                             const T* d_output, T* d_input, bool accumulate, Stream stream);

/// As dynamic_weight_gradient, with weighted_kernel [N, K] and weighted_spatial [N, R·S] whole; both or neither.
template <class T>
void two_sided_weight_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                               const T* weight, const T* d_output, T* d_weight, bool accumulate, T* weighted_kernel,
                               T* weighted_spatial, Stream stream);

}  // namespace omniconv::conv
