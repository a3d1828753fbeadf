#include "layers/od_conv.h"

#include <algorithm>

#include "engine/fusions.h"
#include "kernels/od_attention.h"

namespace omniconv {

AttentionNorm parse_attention_norm(std::string_view text) {
  if (text == "batch") return AttentionNorm::batch;
  if (text == "frozen") return AttentionNorm::frozen;
  if (text == "layer") return AttentionNorm::layer;
  throw UsageError(concat("[attention_norm] expected batch, frozen or layer, got ", text));
}

AttentionInit parse_attention_init(std::string_view text) {
  if (text == "kaiming") return AttentionInit::kaiming;
  if (text == "zero") return AttentionInit::zero;
  throw UsageError(concat("[attention_init] expected kaiming or zero, got ", text));
}

std::string_view name_of(AttentionNorm norm) {
  switch (norm) {
    case AttentionNorm::batch:
      return "batch";
    case AttentionNorm::frozen:
      return "frozen";
    case AttentionNorm::layer:
      return "layer";
  }
  return "unknown";
}
std::string_view name_of(AttentionInit init) {
  return init == AttentionInit::kaiming ? "kaiming" : "zero";
}

std::int64_t ODConvAttention::trunk_width(std::int64_t in_channels, double reduction) {
  return std::max<std::int64_t>(static_cast<std::int64_t>(static_cast<double>(in_channels) * reduction), 16);
}

ODConvAttention::ODConvAttention(ParameterStore& store, const std::string& prefix, std::int64_t in_channels,
                                 std::int64_t out_channels, std::int64_t kernel_size, std::int64_t groups,
                                 const ODConvOptions& options)
    : prefix_(prefix), norm_(options.norm), cost_(trunk_width(in_channels, options.reduction) * in_channels) {
  const std::int64_t width = trunk_width(in_channels, options.reduction);
  fc_.weight = store.add_parameter({prefix + "fc.weight", {width, in_channels}, {width, in_channels, 1, 1}, false},
                                   Initializer::kaiming(width));
  if (options.folded && norm_ != AttentionNorm::layer)
    fc_.bias = store.add_parameter({prefix + "fc.bias", {width}, {}, false}, Initializer::value(0));
  else
    bn_ = std::make_unique<BatchNorm>(store, prefix + "bn.", width);
  const bool depthwise = groups == in_channels && in_channels == out_channels;
  channel_ = make_head(store, prefix + "channel_fc.", width, in_channels, options.init);
  if (!depthwise) filter_ = make_head(store, prefix + "filter_fc.", width, out_channels, options.init);
  if (kernel_size > 1)
    spatial_ = make_head(store, prefix + "spatial_fc.", width, kernel_size * kernel_size, options.init);
  if (options.kernels > 1) kernel_ = make_head(store, prefix + "kernel_fc.", width, options.kernels, options.init);
}

ODConvAttention::Head ODConvAttention::make_head(ParameterStore& store, const std::string& prefix, std::int64_t width,
                                                 std::int64_t outputs, AttentionInit init) {
  cost_ += outputs * width;
  const Initializer weights = init == AttentionInit::zero ? Initializer::value(0) : Initializer::kaiming(outputs);
  return {store.add_parameter({prefix + "weight", {outputs, width}, {outputs, width, 1, 1}, false}, weights),
          store.add_parameter({prefix + "bias", {outputs}, {}, false}, Initializer::value(0))};
}

Variable ODConvAttention::apply(const Pass& pass, const Head& head, const Variable& hidden) {
  return head.weight.defined() ? ops::linear(pass.tape, hidden, head.weight, head.bias) : Variable();
}

ops::AttentionLogits ODConvAttention::forward(const Pass& pass, const Variable& input) const {
  expect(!pass.training || norm_ != AttentionNorm::batch || !bn_ || input.value().size(0) >= 2, "od_conv2d",
         "expected at least 2 samples in a training batch (the attention's batch norm averages over samples), got ",
         input.value().size(0), ": use a larger --batch-size or --attention-norm layer");
  pass.tape.enter(prefix_);
  const Variable pooled = ops::global_average_pool(pass.tape, input);
  if (!can_fuse()) return compose(pass, pooled);
  return ops::od_attention(pass.tape, bn_->mode(pass, norm_ == AttentionNorm::frozen), pooled, fc_.weight, bn_->gamma(),
                           bn_->beta(), bn_->running_mean().value(), bn_->running_var().value(), channel_, filter_,
                           spatial_, kernel_, pass.temperature);
}

bool ODConvAttention::can_fuse() const {
  return bn_ && norm_ != AttentionNorm::layer && fc_.weight.shape()[0] <= kernels::od_attention_features &&
         fusion_enabled(Fusion::attention);
}

ops::AttentionLogits ODConvAttention::compose(const Pass& pass, const Variable& pooled) const {
  const Variable trunk = ops::linear(pass.tape, pooled, fc_.weight, {});
  Variable hidden;
  if (norm_ == AttentionNorm::layer)
    hidden = bn_->forward_by_sample(pass, trunk, true);
  else if (bn_)
    hidden = bn_->forward(pass, trunk, true, {}, norm_ == AttentionNorm::frozen);
  else
    hidden = ops::add_bias(pass.tape, trunk, fc_.bias, true);
  pass.tape.enter(prefix_);
  return {apply(pass, channel_, hidden), apply(pass, filter_, hidden), apply(pass, spatial_, hidden),
          apply(pass, kernel_, hidden)};
}

ODConv2d::ODConv2d(ParameterStore& store, const std::string& prefix, std::int64_t in_channels,
                   std::int64_t out_channels, std::int64_t kernel_size, const Conv2dParams& params,
                   const ODConvOptions& options)
    : prefix_(prefix),
      shape_{1, 0, 0, in_channels, out_channels, kernel_size, kernel_size, params},
      kernels_(options.kernels),
      attention_((check_convolution("od_conv2d", in_channels, out_channels, kernel_size, params), store),
                 prefix + "attention.", in_channels, out_channels, kernel_size, params.groups, options) {
  expect(options.kernels >= 1 && options.kernels <= most_kernels, "od_conv2d", "expected 1 to ", most_kernels,
         " kernels, got ", options.kernels);
  const std::int64_t group_in = in_channels / params.groups;
  weight_ = store.add_parameter({prefix + "weight",
                                 {options.kernels, out_channels, kernel_size, kernel_size, group_in},
                                 {options.kernels, out_channels, group_in, kernel_size, kernel_size},
                                 true},
                                Initializer::kaiming(out_channels * kernel_size * kernel_size));
}

ConvShape ODConv2d::shape(std::int64_t height, std::int64_t width) const {
  return at_image(shape_, height, width);
}

Cost ODConv2d::cost(std::int64_t height, std::int64_t width) const {
  const ConvShape conv = shape(height, width);
  Cost cost;
  cost.convolution = convolution_cost(conv);
  cost.attention = attention_.cost();
  const bool aggregates = attention_.spatial().weight.defined() || attention_.kernel().weight.defined();
  if (aggregates) cost.aggregation = kernels_ * conv.weight_count();
  cost.scaling = conv.in_pixels() * conv.in_channels;
  if (attention_.filter().weight.defined()) cost.scaling += conv.out_pixels() * conv.out_channels;
  return cost;
}

ops::AttentionLogits ODConv2d::attention(const Pass& pass, const Variable& input) const {
  return attention_.forward(pass, input);
}

Variable ODConv2d::forward(const Pass& pass, const Variable& input, bool normed) const {
  const ops::AttentionLogits logits = attention(pass, input);
  pass.tape.enter(prefix_);
  return ops::od_conv2d(pass.tape, shape_.params, input, weight_, logits, pass.temperature, normed);
}

}  // namespace omniconv
