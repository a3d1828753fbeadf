// ODConv's attention from the pooled input to the four attentions, in one launch, and its gradients in another.
//
//   u = h W_fcᵀ,   ũ = (u - mean) rstd,   a = relu(gamma ũ + beta),   z = a W_jᵀ + b_j,
//   attention = sigmoid(z / T), or softmax(z / T) of the kernel head
//
// with the mean and variance of the batch's samples or the running ones. The composed form is a product, a batch norm
// (batch_norm.h), four products and activations (attention.h), and about thirty launches, each shorter than the gap
// between two; docs/odconv.md derives the gradients.
#pragma once

#include <cstdint>

#include "kernels/simt/stream.h"

namespace omniconv::kernels {

struct OdAttentionShape {
  std::int64_t samples = 0;     ///< N
  std::int64_t channels = 0;    ///< I
  std::int64_t features = 0;    ///< A, at most od_attention_features
  std::int64_t widths[4] = {};  ///< outputs of the channel, filter, spatial and kernel heads; 0 where one is absent
  double epsilon = 1e-5;
  bool batch_statistics = true;  ///< else the running ones
};

/// Trunks that are wider than this do not fit.
inline constexpr std::int64_t od_attention_features = 256;

/// Numbers of the heads in the arrays below.
enum : int { channel_head, filter_head, spatial_head, kernel_head, head_count };

template <class T>
struct OdAttentionForward {
  struct Head {
    const T* weight;  // [width, A]
    const T* bias;    // [width]
    T* logits;        // [N, width]
    T* attention;     // [N, width]
  };
  const T* pool;          // h [N, I]
  const T* trunk_weight;  // W_fc [A, I]
  const T* gamma;         // [A]
  const T* beta;          // [A]
  T* running_mean;        // [A]; the batch's statistics move them by `momentum`, as batch_norm_statistics does
  T* running_var;         // [A]
  std::int64_t* batches = nullptr;  // [1] or nullptr: counts how often they moved
  double momentum = 0.1;
  Head heads[head_count];
  const double* temperature;  // T [1]
  T* trunk;                   // u [N, A]; this and what follows is what backward needs
  T* hidden;                  // a [N, A]
  T* mean;                    // [A]
  T* rstd;                    // [A]
};

/// Needs N >= 2 with the batch's statistics.
template <class T>
void od_attention_forward(const OdAttentionShape& shape, const OdAttentionForward<T>& arguments, Stream stream);

/// Where a gradient goes, if it is wanted, and whether it is added to what is there.
template <class T>
struct GradientTarget {
  T* data = nullptr;
  bool accumulate = false;
};

template <class T>
struct OdAttentionBackward {
  struct Head {
    const T* weight;                     // [width, A]
    const T* d_logits = nullptr;         // [N, width], or nullptr where nothing arrived
    GradientTarget<T> d_weight, d_bias;  // without d_logits not written
  };
  const T* pool;
  const T* trunk_weight;
  const T* gamma;
  const T* trunk;
  const T* hidden;
  const T* mean;
  const T* rstd;
  Head heads[head_count];
  GradientTarget<T> d_pool, d_trunk_weight, d_gamma, d_beta;
  T* d_hidden;  // workspace [N, A]: dL/da where a > 0
};

template <class T>
void od_attention_backward(const OdAttentionShape& shape, const OdAttentionBackward<T>& arguments, Stream stream);

}  // namespace omniconv::kernels
