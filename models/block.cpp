#include "models/block.h"

namespace omniconv {

namespace {

struct Plan {
  std::int64_t kernel_size, in_channels, out_channels, stride;
};

/// A convolution that keeps the extents but for its stride, with its norm: static, or dynamic with `kernels`. `pooled`
/// where attentions read what comes out.
NormedConv make_conv(const ModelConfig& config, ParameterStore& store, const std::string& prefix,
                     const std::string& norm_prefix, const Plan& plan, bool dynamic, std::int64_t kernels,
                     bool pooled) {
  const Conv2dParams params{.stride = plan.stride, .padding = plan.kernel_size / 2, .dilation = 1, .groups = 1};
  std::unique_ptr<ConvLayer> conv;
  if (dynamic) {
    const ODConvOptions options{.kernels = kernels,
                                .reduction = config.reduction,
                                .norm = config.attention_norm,
                                .init = config.attention_init,
                                .folded = config.folded};
    conv = std::make_unique<ODConv2d>(store, prefix, plan.in_channels, plan.out_channels, plan.kernel_size, params,
                                      options);
  } else {
    conv = std::make_unique<Conv2d>(store, prefix, plan.in_channels, plan.out_channels, plan.kernel_size, params);
  }
  return {store, prefix, norm_prefix, std::move(conv), plan.out_channels, config.folded, pooled};
}

}  // namespace

Block::Block(const ModelConfig& config, ParameterStore& store, const std::string& prefix, std::int64_t in_channels,
             std::int64_t channels, std::int64_t stride)
    : out_channels_(channels * config.architecture().expansion()) {
  const std::vector<Plan> basic{{3, in_channels, channels, stride}, {3, channels, out_channels_, 1}};
  const std::vector<Plan> bottleneck{
      {1, in_channels, channels, 1}, {3, channels, channels, stride}, {1, channels, out_channels_, 1}};
  for (const Plan& plan : config.architecture().bottleneck ? bottleneck : basic) {
    const std::size_t number = convs_.size() + 1;
    convs_.push_back(make_conv(config, store, concat(prefix, "conv", number, '.'), concat(prefix, "bn", number, '.'),
                               plan, config.dynamic(), config.kernels, config.dynamic()));
  }
  if (stride == 1 && in_channels == out_channels_) return;
  shortcut_ = make_conv(config, store, prefix + "downsample.0.", prefix + "downsample.1.",
                        {1, in_channels, out_channels_, stride},
                        config.dynamic() && config.downsample == Downsample::odconv, 1, false);
}

Variable Block::forward(const Pass& pass, const Variable& input) const {
  Variable hidden = input;
  for (std::size_t i = 0; i + 1 < convs_.size(); ++i) hidden = convs_[i].forward(pass, hidden, true);
  const Variable shortcut = shortcut_ ? shortcut_->forward(pass, input, false) : input;
  return convs_.back().forward(pass, hidden, true, shortcut);
}

Cost Block::cost(std::int64_t& height, std::int64_t& width) const {
  Cost cost;
  if (shortcut_) cost += shortcut_->conv().cost(height, width);
  for (const NormedConv& layer : convs_) {
    cost += layer.conv().cost(height, width);
    const ConvShape shape = layer.conv().shape(height, width);
    height = shape.out_height();
    width = shape.out_width();
  }
  return cost;
}

}  // namespace omniconv
