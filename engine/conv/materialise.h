// Algorithm A: every sample's aggregated weights in memory, then one product per sample and group. What frameworks do;
// here it is a reference, and the choice where few samples meet many pixels.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/simt/stream.h"

namespace omniconv::conv {

/// As dynamic_forward.
template <class T>
void materialise_forward(const ConvShape& shape, const AttentionValues<T>& attention, const T* input, const T* weight,
                         T* output, Stream stream);

/// d_input (+)= dx_conv.
template <class T>
void materialise_data_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* weight,
                               const T* d_output, T* d_input, bool accumulate, Stream stream);

/// d_weight (+)= Σ_n q_n D_n, weighted_kst [N, K, R·S] = Q; either may be nullptr.
template <class T>
void materialise_weight_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                                 const T* weight, const T* d_output, T* d_weight, bool accumulate, T* weighted_kst,
                                 Stream stream);

}  // namespace omniconv::conv
