// The dynamic convolution of ODConv and its algorithms.
//
// Every algorithm computes the same three functions; which one runs is a plan (plan.h). The math is derived in
// docs/odconv.md. T is f32, f64, bf16 or f16, the type of activations and weights; attention and the gradients of
// weights and attention are of compute_type_t<T>.
#pragma once

#include "engine/conv/plan.h"
#include "engine/moments.h"
#include "engine/tensor.h"
#include "kernels/conv_shape.h"
#include "kernels/half.h"
#include "kernels/simt/stream.h"

namespace omniconv::conv {

/// output [N, OH, OW, O] = f ⊙ conv(x ⊙ c, Σ_k p_k s ⊙ W_k). weight [K, O, R, S, I/g].
/// The algorithms that have the output in hand tile by tile, as it is stored, fill `moments` if there is one.
template <class T>
void dynamic_forward(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                     const T* weight, T* output, Stream stream, Moments* moments = nullptr);

/// d_input (+)= dx_conv = c ⊙ conv_transpose(f ⊙ d_output, Σ_k q W_k) and, unless nullptr, weighted_channel [N, parts,
/// I], whose parts add up to C = Σ_p x ⊙ dx_conv; an algorithm leaves as many as suit it.
template <class T>
void dynamic_data_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                           const T* weight, const T* d_output, T* d_input, bool accumulate, Tensor* weighted_channel,
                           Stream stream);

/// The sums over a sample's weights, in parts, too. Most algorithms leave Q [N, K, R·S] for both.
struct WeightedShares {
  Tensor kernel;   ///< Σ_t Q, [N, K, parts]
  Tensor spatial;  ///< Σ_k Q, [N, parts, R·S]
};

/// d_weight [K, O, R, S, I/g] (+)= Σ_n q_n D_n and weighted_shares; either may be nullptr.
template <class T>
void dynamic_weight_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention,
                             const T* input, const T* weight, const T* d_output, compute_type_t<T>* d_weight,
                             bool accumulate, WeightedShares* weighted_shares, Stream stream);

/// What the two gradients write; nullptr for what is not wanted.
template <class T>
struct DynamicGradients {
  T* d_input = nullptr;
  bool accumulate_input = false;
  Tensor* weighted_channel = nullptr;  ///< wanted only together with d_input
  compute_type_t<T>* d_weight = nullptr;
  bool accumulate_weight = false;
  WeightedShares* weighted_shares = nullptr;
};

/// dynamic_weight_gradient and dynamic_data_gradient, as far as wanted. Where C computes both on tensor cores, Q is a
/// by-product of the data gradient and not computed a second time.
template <class T>
void dynamic_gradients(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                       const T* weight, const T* d_output, const DynamicGradients<T>& gradients, Stream stream);

}  // namespace omniconv::conv
