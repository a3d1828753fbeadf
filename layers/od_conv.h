// ODConv: the attention trunk with its four heads, and the dynamic convolution it steers (Li, Zhou, Yao:
// Omni-dimensional dynamic convolution, ICLR 2022).
#pragma once

#include <string>
#include <string_view>

#include "layers/layers.h"

namespace omniconv {

/// What the attention trunk normalises over.
enum class AttentionNorm {
  batch,   ///< the samples of the batch, as published; needs at least two in training
  frozen,  ///< the running statistics, in training too
  layer,   ///< the features of each sample by itself
};

/// First values of the attention heads.
enum class AttentionInit {
  kaiming,  ///< as published: Kaiming normal, fan-out
  zero,     ///< c = f = s = 0.5 and p = 1/K at first
};

/// @throws UsageError for another word.
AttentionNorm parse_attention_norm(std::string_view text);
AttentionInit parse_attention_init(std::string_view text);
std::string_view name_of(AttentionNorm norm);
std::string_view name_of(AttentionInit init);

inline constexpr std::int64_t most_kernels = 16;  ///< K

struct ODConvOptions {
  std::int64_t kernels = 4;  ///< K
  double reduction = 0.0625;
  AttentionNorm norm = AttentionNorm::batch;
  AttentionInit init = AttentionInit::kaiming;
  bool folded = false;  ///< the trunk's batch norm is part of its FC, which has a bias then; a layer norm stays
};

/// h = ReLU(BatchNorm(W_fc · mean_hw(x))), folded ReLU(W_fc · mean_hw(x) + b_fc), and the logits of the four heads. A
/// head is absent where its attention is 1: filter for depth-wise, spatial for 1x1, kernel for K = 1.
class ODConvAttention {
 public:
  ODConvAttention(ParameterStore& store, const std::string& prefix, std::int64_t in_channels, std::int64_t out_channels,
                  std::int64_t kernel_size, std::int64_t groups, const ODConvOptions& options);

  /// input [N, H, W, I] -> logits [N, I], [N, O], [N, R·S], [N, K].
  /// @throws Error for a training batch of one sample under AttentionNorm::batch, with the remedy.
  ops::AttentionLogits forward(const Pass& pass, const Variable& input) const;

  /// Multiply-accumulates of trunk and heads for one image.
  std::int64_t cost() const { return cost_; }

  /// Width of the trunk, max(int(I · reduction), 16).
  static std::int64_t trunk_width(std::int64_t in_channels, double reduction);

  using Head = ops::AttentionHead;
  AttentionNorm norm_kind() const { return norm_; }
  /// W_fc [A, I] and, folded, its bias [A].
  const Head& trunk() const { return fc_; }
  /// nullptr where it was folded into the trunk.
  const BatchNorm* norm() const { return bn_.get(); }
  const Head& channel() const { return channel_; }
  const Head& filter() const { return filter_; }
  const Head& spatial() const { return spatial_; }
  const Head& kernel() const { return kernel_; }

 private:
  Head make_head(ParameterStore& store, const std::string& prefix, std::int64_t width, std::int64_t outputs,
                 AttentionInit init);
  /// The launches of the trunk and the heads, one after the other: any norm, any width.
  ops::AttentionLogits compose(const Pass& pass, const Variable& pooled) const;
  bool can_fuse() const;
  static Variable apply(const Pass& pass, const Head& head, const Variable& hidden);

  std::string prefix_;
  AttentionNorm norm_;
  std::int64_t cost_;
  Head fc_;
  std::unique_ptr<BatchNorm> bn_;
  Head channel_, filter_, spatial_, kernel_;
};

/// y_n = f_n ⊙ conv(x_n ⊙ c_n, Σ_k p_nk s_n ⊙ W_k); weight [K, O, R, S, I/g], Kaiming normal, fan-out, per kernel.
class ODConv2d : public ConvLayer {
 public:
  ODConv2d(ParameterStore& store, const std::string& prefix, std::int64_t in_channels, std::int64_t out_channels,
           std::int64_t kernel_size, const Conv2dParams& params, const ODConvOptions& options);
  Variable forward(const Pass& pass, const Variable& input, bool normed = false) const override;
  ConvShape shape(std::int64_t height, std::int64_t width) const override;
  Cost cost(std::int64_t height, std::int64_t width) const override;
  const Variable& weight() const override { return weight_; }
  /// The attentions' logits for `input`, as forward() uses them.
  ops::AttentionLogits attention(const Pass& pass, const Variable& input) const;
  const ODConvAttention& attention() const { return attention_; }
  /// The static convolution that is this one on average over the samples of `attentions`, [O, R, S, I/g]:
  ///   W̄[o, t, i] = 1/N Σ_n f_no c_ni s_nt Σ_k p_nk W_k[o, t, i]
  /// the joint mean, which is not the product of the attentions' means.
  Tensor mean_weight(const ops::Attentions& attentions) const;

 private:
  std::string prefix_;
  ConvShape shape_;  // but for the image
  std::int64_t kernels_;
  Variable weight_;
  ODConvAttention attention_;
};

}  // namespace omniconv
