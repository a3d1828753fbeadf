// Algorithm C: one dense product over kernels, taps and channels, activations scaled by q and c on the way, taps in the
// padding skipped. K times the arithmetic, but no per-sample kernel. In f32 on the CPU it is a chain of library
// products on cache-sized panels (summed_cpu.cpp), else a kernel of ours (kernels/od_conv_summed.cu).
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/simt/stream.h"

namespace omniconv::conv {

/// As dynamic_forward.
template <class T>
void summed_forward(const ConvShape& shape, const AttentionValues<T>& attention, const T* input, const T* weight,
                    T* output, Stream stream);

/// d_input (+)= dx_conv, and weighted_kst [N, K, R·S] = Q, for which it needs input; either may be nullptr.
template <class T>
void summed_data_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* input, const T* weight,
                          const T* d_output, T* d_input, bool accumulate, T* weighted_kst, Stream stream);

/// d_weight (+)= Σ_n q_n D_n, weighted_kst [N, K, R·S] = Q; either may be nullptr. D_n never exists here, so Q comes
/// from the products of the data gradient.
template <class T>
void summed_weight_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                            const T* weight, const T* d_output, T* d_weight, bool accumulate, T* weighted_kst,
                            Stream stream);

}  // namespace omniconv::conv
