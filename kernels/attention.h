// The activations of ODConv's four attention heads and their division-free gradients (docs/odconv.md).
//
// The temperature is read from device memory (one double), so that it may change without a new launch.
#pragma once

#include <cstdint>

#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// attention[i] = sigmoid(logits[i] / T), `count` elements: channel, filter and spatial attention.
template <class T>
void sigmoid_attention_forward(const T* logits, const double* temperature, T* attention, std::int64_t count,
                               Stream stream);

/// d_logits[i] (+)= (1 - a_i) · weighted[i] / T with weighted = a · dL/da (R, C or Σ_k Q of the design);
/// 1 - a is evaluated as sigmoid(-z/T), so nothing cancels.
template <class T>
void sigmoid_attention_backward(const T* logits, const double* temperature, const T* weighted, T* d_logits,
                                std::int64_t count, bool accumulate, Stream stream);

/// attention[n, k] = softmax_k(logits[n, k] / T), stable for any finite logits. [N, K], K <= 16.
template <class T>
void softmax_attention_forward(const T* logits, const double* temperature, T* attention, std::int64_t samples,
                               std::int64_t kernels, Stream stream);

/// Widths of the four heads; 0 where one is absent.
struct HeadWidths {
  std::int64_t channel = 0, filter = 0, spatial = 0, kernel = 0;  ///< I, O, R·S, K

  std::int64_t sigmoids() const { return channel + filter + spatial; }
  std::int64_t all() const { return sigmoids() + kernel; }
};

/// All four attentions at once, from the heads' products z [N, I + O + R·S + K], one head behind the other, and their
/// biases [I + O + R·S + K]: sigmoid((z + bias) / T), and softmax for the last. Targets of absent heads are not used.
template <class T>
void attention_forward(const HeadWidths& widths, const T* products, const T* bias, const double* temperature,
                       T* channel, T* filter, T* spatial, T* kernel, std::int64_t samples, Stream stream);

/// From weighted_kst[n, k, t] = Q = p_nk s_nt dL/d(p_nk s_nt) [N, K, taps]:
///   d_kernel_logits[n, k] (+)= (Σ_t Q - p_nk Σ_{k,t} Q) / T        (skipped when d_kernel_logits is nullptr)
///   weighted_spatial[n, t]  = Σ_k Q                                 (skipped when weighted_spatial is nullptr)
/// attention is p [N, K], or nullptr when there is no kernel attention (K = 1).
template <class T>
void kernel_attention_backward(const T* weighted_kst, const T* attention, const double* temperature,
                               T* d_kernel_logits, bool accumulate, T* weighted_spatial, std::int64_t samples,
                               std::int64_t kernels, std::int64_t taps, Stream stream);

}  // namespace omniconv::kernels
