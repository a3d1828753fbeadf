// Algorithms A and D of the dynamic convolution, the parts around the library's products: per-sample aggregated
// weights and columns of patches (im2col), with their gradients.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// aggregated[n, o, t, i] = Σ_k p_nk s_nt weight[k, o, t, i]. weight [K, O, R·S, I/g], aggregated [N, O, R·S, I/g].
template <class T>
void aggregate_weights(const ConvShape& shape, const AttentionValues<T>& attention, const T* weight, T* aggregated,
                       Stream stream);

/// The gradients of aggregate_weights from d_aggregated = D [N, O, R·S, I/g]:
///   d_weight[k] (+)= Σ_n p_nk s_nt D_n     (nullptr: not wanted)
///   weighted_kst[n, k, t] = p_nk s_nt Σ_{o,i} D_n weight[k]     [N, K, R·S] (nullptr: not wanted)
template <class T>
void aggregate_weights_backward(const ConvShape& shape, const AttentionValues<T>& attention, const T* weight,
                                const T* d_aggregated, T* d_weight, bool accumulate, T* weighted_kst, Stream stream);

/// columns[g, n, p, t, i] = input[n, pixel(p, t), g·I/g + i] · c_ni, zero in the padding.
/// input [N, H, W, I], columns [groups, N, OH·OW, R·S, I/g]; c may be absent.
template <class T>
void im2col(const ConvShape& shape, const T* input, const T* channel, T* columns, Stream stream);

/// The adjoint of im2col: d_input[n, p', i] (+)= c_ni Σ_{p,t: pixel(p,t)=p'} d_columns[g, n, p, t, i].
template <class T>
void col2im(const ConvShape& shape, const T* d_columns, const T* channel, T* d_input, bool accumulate, Stream stream);

/// columns[g, n, p, t, i] *= s_nt in place.
template <class T>
void scale_taps(const ConvShape& shape, const T* spatial, T* columns, Stream stream);

/// output[n, p, o] = f_no Σ_k p_nk products[n, p, k, o]; f and p may be absent. products [N, OH·OW, K, O].
template <class T>
void combine_kernels(const ConvShape& shape, const AttentionValues<T>& attention, const T* products, T* output,
                     Stream stream);

/// products[n, p, k, o] = f_no p_nk d_output[n, p, o], the two-sided form's left operand.
template <class T>
void spread_kernels(const ConvShape& shape, const AttentionValues<T>& attention, const T* d_output, T* products,
                    Stream stream);

/// weighted_kernel[n, k] = p_nk Σ_{p,o} f_no d_output[n, p, o] products[n, p, k, o] = Σ_t Q.
template <class T>
void kernel_dot(const ConvShape& shape, const AttentionValues<T>& attention, const T* d_output, const T* products,
                T* weighted_kernel, Stream stream);

/// weighted_spatial[n, t] = Σ_{g,p,i} columns · d_columns = Σ_k Q, with columns scaled by c and s and d_columns the
/// gradient of just these.
template <class T>
void tap_dot(const ConvShape& shape, const T* columns, const T* d_columns, T* weighted_spatial, Stream stream);

}  // namespace omniconv::kernels
