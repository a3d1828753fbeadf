// Differentiable operations. Each checks its arguments, computes on the main stream, and records its backward.
//
// Activations are [N, H, W, C] and may be f32 or f64; all arguments of one call have one type. Where [N, H, W, C] is of
// bf16 or f16, parameters, their gradients, statistics, logits and everything behind a pool are f32, and convolutions
// read the copy of their weight in that type (Variable::value_in). An operation throws Error
// `[name] expected ..., got ...` for shapes or types that do not fit.
#pragma once

#include "engine/autograd.h"
#include "kernels/conv_shape.h"
#include "kernels/cross_entropy.h"
#include "kernels/max_pool.h"

namespace omniconv::ops {

/// output [N, C] = mean over the pixels of input [N, H, W, C]; f32 of bf16 and f16. Where the operation that made the
/// input has computed it already, that (Variable::pool).
Variable global_average_pool(Tape& tape, const Variable& input);

/// output [N, OH, OW, C] = the largest pixels of the windows of input [N, H, W, C]; the padding is never the largest. A
/// gradient goes to the first of equals.
Variable max_pool(Tape& tape, const kernels::MaxPoolParams& params, const Variable& input);

/// Each element of input set to zero with `probability` in [0, 1), the others divided by 1 - probability. Which ones
/// depends on `seed`, `step` (i64 [1] on the device) and the element's index alone.
Variable dropout(Tape& tape, double probability, std::uint64_t seed, const Tensor& step, const Variable& input);

/// output [N, O] = input [N, I] · weightᵀ [O, I] + bias [O]; bias may be empty.
Variable linear(Tape& tape, const Variable& input, const Variable& weight, const Variable& bias);

/// output = relu?(input [..., C] + bias [C] + residual), residual like input or empty: what is left of a batch norm
/// that was folded into the convolution before it.
Variable add_bias(Tape& tape, const Variable& input, const Variable& bias, bool relu, const Variable& residual = {});

/// Static convolution: output [N, OH, OW, O] of input [N, H, W, I] and weight [O, R, S, I/g].
Variable conv2d(Tape& tape, const Conv2dParams& params, const Variable& input, const Variable& weight);

/// Which statistics batch norm normalises with.
struct BatchNormMode {
  bool batch_statistics = true;  ///< those of the batch (and the running ones move), or the running ones
  double momentum = 0.1;
  double epsilon = 1e-5;
  bool relu = false;            ///< relu(norm + residual)
  bool pool = false;            ///< of [N, H, W, C]: global_average_pool() will be asked for that of the output
  Tensor batches_tracked = {};  ///< i64 [1], or nothing: counts how often the running ones moved
};

/// Batch norm over all axes but the last, with fused residual add and ReLU. input [..., C], residual like input or
/// empty, gamma, beta, running_mean, running_var [C]. The running statistics are updated in place where the batch's
/// are used. @throws Error when a batch of one row is normalised by its own statistics.
Variable batch_norm(Tape& tape, const BatchNormMode& mode, const Variable& input, const Variable& residual,
                    const Variable& gamma, const Variable& beta, const Tensor& running_mean, const Tensor& running_var);

/// Layer norm over the features of input [N, A], with optional ReLU; gamma, beta [A].
Variable layer_norm(Tape& tape, double epsilon, bool relu, const Variable& input, const Variable& gamma,
                    const Variable& beta);

/// The four attentions of ODConv; undefined where absent, which stands for 1.
struct Attentions {
  Tensor channel;  // c [N, I]
  Tensor filter;   // f [N, O]
  Tensor spatial;  // s [N, R·S]
  Tensor kernel;   // p [N, K]
};

/// Logits of the four attentions of ODConv; an empty one stands for attention 1.
struct AttentionLogits {
  Variable channel;            // [N, I]
  Variable filter;             // [N, O]
  Variable spatial;            // [N, R·S]
  Variable kernel;             // [N, K]
  Attentions attentions = {};  // of all of them, where they were computed with the logits
};

/// A fully connected layer of [N, A]; empty variables where there is none.
struct AttentionHead {
  Variable weight, bias;  // [outputs, A], [outputs]
};

/// All of ODConv's attention but the pool, in one launch, and its gradients in another: the logits
///   z = a W_headᵀ + b_head,  a = relu(batch norm of (pooled · trunkᵀ))
/// of pooled [N, I] and trunk [A, I], with gamma, beta, running_mean, running_var [A] as batch_norm() has them, and the
/// attentions of this temperature f64 [1]. `mode.relu` and `mode.pool` are not read. @throws Error for more than 256
/// features A, and as batch_norm() does.
AttentionLogits od_attention(Tape& tape, const BatchNormMode& mode, const Variable& pooled, const Variable& trunk,
                             const Variable& gamma, const Variable& beta, const Tensor& running_mean,
                             const Tensor& running_var, const AttentionHead& channel, const AttentionHead& filter,
                             const AttentionHead& spatial, const AttentionHead& kernel, const Tensor& temperature);

/// c, f, s = sigmoid(z/T) and p = softmax(z/T); temperature f64 [1] on the device. Not differentiable by itself.
Attentions attentions(const AttentionLogits& logits, const Tensor& temperature);

/// y_n = f ⊙ conv(x ⊙ c, Σ_k p_k s ⊙ W_k) with c, f, s = sigmoid(z/T), p = softmax(z/T).
/// input [N, H, W, I], weight [K, O, R, S, I/g], temperature f64 [1] on the device. The gradients of the logits never
/// divide by an attention (docs/odconv.md). `normed`: batch_norm() comes next and takes the output's statistics, so
/// that it finds their moments (Variable::take_moments) where the algorithm has them in hand.
Variable od_conv2d(Tape& tape, const Conv2dParams& params, const Variable& input, const Variable& weight,
                   const AttentionLogits& logits, const Tensor& temperature, bool normed = false);

/// What makes a loss another one than the mean over its samples against hard labels.
struct LossOptions {
  double smoothing = 0;        ///< the part of the target that is spread evenly over the classes, in [0, 1)
  Tensor other_labels = {};    ///< i32 [N], the labels that samples are mixed with, or nothing
  Tensor own_share = {};       ///< f64 [1], with other_labels: the part of the target that is the sample's own label's
  std::int64_t mean_over = 0;  ///< samples that the loss is the mean over, of which these are a part; 0: just these
};

/// loss [1] = mean over the samples of the softmax cross-entropy of logits [N, C] against labels i32 [N].
/// `totals` (device memory, or nullptr) grows by the batch's loss, hits and count.
Variable cross_entropy(Tape& tape, const Variable& logits, const Tensor& labels, kernels::ClassificationTotals* totals,
                       const LossOptions& options = {});

}  // namespace omniconv::ops
