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

/// The part of a head in attention_backward().
template <class T>
struct LogitsGradient {
  std::int64_t width = 0;  ///< 0: this head's gradient is not wanted
  const T* activation;     ///< logits z [N, width] of a sigmoid head, attention p [N, K] of the kernel head
  const T* weighted;       ///< attention ⊙ dL/d attention, in parts
  T* d_logits;             ///< [N, width]
  bool accumulate = false;
  std::int64_t parts = 1;  ///< of weighted
};

/// The gradients of all heads' logits at once, none of which divides by an attention:
///   d_logits[n, i] (+)= (1 - a_i) · weighted[n, i] / T                        of the three with a sigmoid,
///   d_logits[n, k] (+)= (weighted[n, k] - p_nk Σ_k weighted[n, k]) / T        of the kernel head,
/// with 1 - a evaluated as sigmoid(-z/T), so that nothing cancels.
///
/// What is weighted comes as sums that blocks, pixels or the axes of Q are left of, and is added up here: C, R and Σ_k
/// Q of the sigmoid heads as [N, parts, width], Σ_t Q of the kernel head as [N, width, parts]. So Q [N, K, R·S] serves
/// both as it is.
template <class T>
void attention_backward(const LogitsGradient<T>& channel, const LogitsGradient<T>& filter,
                        const LogitsGradient<T>& spatial, const LogitsGradient<T>& kernel, const double* temperature,
                        std::int64_t samples, Stream stream);

}  // namespace omniconv::kernels
