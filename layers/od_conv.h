// ODConv: the attention trunk with its four heads, and the dynamic convolution it steers (Li, Zhou, Yao: Omni-dimensional
// dynamic convolution, ICLR 2022).
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

struct ODConvOptions {
  std::int64_t kernels = 4;  ///< K
  double reduction = 0.0625;
  AttentionNorm norm = AttentionNorm::batch;
  AttentionInit init = AttentionInit::kaiming;
};

/// h = ReLU(BatchNorm(W_fc · mean_hw(x))) and the logits of the four heads. A head is absent where its attention is 1:
/// filter for depth-wise, spatial for 1x1, kernel for K = 1.
class ODConvAttention {
 public:
  ODConvAttention(ParameterStore& store, const std::string& prefix, std::int64_t in_channels,
                  std::int64_t out_channels, std::int64_t kernel_size, std::int64_t groups,
                  const ODConvOptions& options);

  /// input [N, H, W, I] -> logits [N, I], [N, O], [N, R·S], [N, K].
  /// @throws Error for a training batch of one sample under AttentionNorm::batch, with the remedy.
  ops::AttentionLogits forward(const Pass& pass, const Variable& input) const;

  /// Multiply-accumulates of trunk and heads for one image.
  std::int64_t cost() const;

  /// Width of the trunk, max(int(I · reduction), 16).
  static std::int64_t trunk_width(std::int64_t in_channels, double reduction);

 private:
  struct Head {
    Variable weight, bias;
  };
  Head make_head(ParameterStore& store, const std::string& prefix, std::int64_t width, std::int64_t outputs,
                 AttentionInit init) const;
  static Variable apply(const Pass& pass, const Head& head, const Variable& hidden);

  AttentionNorm norm_;
  Variable fc_;  // [A, I]
  BatchNorm bn_;
  Head channel_, filter_, spatial_, kernel_;

  friend class ODConv2d;  // its cost depends on which heads there are
};

/// y_n = f_n ⊙ conv(x_n ⊙ c_n, Σ_k p_nk s_n ⊙ W_k); weight [K, O, R, S, I/g], Kaiming normal, fan-out, per kernel.
class ODConv2d : public ConvLayer {
 public:
  ODConv2d(ParameterStore& store, const std::string& prefix, std::int64_t in_channels, std::int64_t out_channels,
           std::int64_t kernel_size, const Conv2dParams& params, const ODConvOptions& options);
  Variable forward(const Pass& pass, const Variable& input) const override;
  ConvShape shape(std::int64_t height, std::int64_t width) const override;
  Cost cost(std::int64_t height, std::int64_t width) const override;
  /// The attentions' logits for `input`, as forward() uses them.
  ops::AttentionLogits attention(const Pass& pass, const Variable& input) const;

 private:
  Conv2dParams params_;
  Variable weight_;
  ODConvAttention attention_;
};

}  // namespace omniconv
