// Algorithm C of the dynamic convolution: one dense product over kernels, taps and channels,
//   y_np = f_n Σ_k Σ_t Σ_i (q_nkt c_ni x_n,p+t,i) W_k,o,t,i
// with activations scaled as they are loaded: K times the arithmetic of a static convolution, but no per-sample kernel.
// A tile's rows are one pixel of many samples, so taps in the padding are skipped for the whole tile; it pays where
// outputs are few pixels. Plain FMA, for f32 and f64.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// output [N, OH, OW, O] = f ⊙ conv(x ⊙ c, Σ_k q ⊙ W_k); weight [K, O, R, S, I/g].
template <class T>
void od_conv_summed_forward(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                            const T* weight, T* output, Stream stream);

/// Elements of workspace that od_conv_summed_data_gradient needs when weighted_kst is wanted.
std::int64_t od_conv_summed_workspace(const ConvShape& shape, std::int64_t kernels);

/// d_input (+)= c ⊙ conv_transpose(f ⊙ d_output, Σ_k q W_k), unless nullptr, and, unless nullptr,
/// weighted_kst [N, K, R·S] = Q, for which it needs input: Z_kt, the product of f ⊙ d_output with W_kt alone, is at
/// hand here, and Q_nkt = q_nkt Σ c x Z_kt.
template <class T>
void od_conv_summed_data_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                                  const T* d_output, const T* weight, T* d_input, bool accumulate, T* weighted_kst,
                                  T* workspace, Stream stream);

/// d_weight [K, O, R, S, I/g] (+)= Σ_n q D_n.
template <class T>
void od_conv_summed_weight_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                                    const T* d_output, T* d_weight, bool accumulate, Stream stream);

}  // namespace omniconv::kernels
