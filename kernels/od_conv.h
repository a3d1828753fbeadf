// The aggregated convolution of ODConv, hand-written: forward, data gradient and weight gradient as tiled implicit
// products that build the aggregated weights Σ_k p_nk s_nt W_k tile by tile in shared memory and never store them.
//
// With x [N, H, W, I], W [K, O, R, S, I/g], t = (r, s) a tap, q_nkt = p_nk s_nt:
//   y_n = f_n ⊙ conv(x_n ⊙ c_n, Σ_k q_nk ⊙ W_k)
// They serve f64, devices and shapes without a faster algorithm, and the tests of those that are faster. With absent
// attention they are static convolutions. T is the type of activations and weights; attention, sums and gradients of
// weights and attention are of compute_type_t<T>. Error unless a sample, padded or not, and a kernel have at most
// INT_MAX elements.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/half.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// output [N, OH, OW, O] = y.
template <class T>
void od_conv_forward(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                     const T* weight, T* output, Stream stream);

/// d_input [N, H, W, I] (+)= c ⊙ conv_transpose(f ⊙ d_output, Σ_k q W_k).
template <class T>
void od_conv_data_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention,
                           const T* d_output, const T* weight, T* d_input, bool accumulate, Stream stream);

/// Elements of workspace that od_conv_weight_gradient needs, of Value = compute_type_t<T>.
template <class Value>
std::int64_t od_conv_weight_gradient_workspace(const ConvShape& shape, std::int64_t kernels);

/// With D_n the weight gradient of sample n for conv(x ⊙ c, ·) against f ⊙ d_output:
///   d_weight[k] (+)= Σ_n q_nkt D_n                     [K, O, R, S, I/g], or nullptr
///   weighted_kst[n, k, t] = q_nkt Σ_{o,i} D_n W_k      [N, K, R·S] (Q), or nullptr
/// The samples are cut into parts by the shape alone, whose sums over n are added up in order.
template <class T>
void od_conv_weight_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention,
                             const T* input, const T* d_output, const T* weight, compute_type_t<T>* d_weight,
                             bool accumulate, compute_type_t<T>* weighted_kst, compute_type_t<T>* workspace,
                             Stream stream);

}  // namespace omniconv::kernels
