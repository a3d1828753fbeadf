#include "models/basic_block.h"

namespace omniconv {

namespace {

std::unique_ptr<ConvLayer> make_conv(const ModelConfig& config, ParameterStore& store, const std::string& prefix,
                                     std::int64_t in_channels, std::int64_t out_channels, std::int64_t kernel_size,
                                     std::int64_t stride) {
  const Conv2dParams params{.stride = stride, .padding = kernel_size / 2, .dilation = 1, .groups = 1};
  const bool shortcut = kernel_size == 1;
  if (!config.dynamic() || (shortcut && config.downsample == Downsample::fixed))
    return std::make_unique<Conv2d>(store, prefix, in_channels, out_channels, kernel_size, params);
  const ODConvOptions options{.kernels = shortcut ? 1 : config.kernels,
                              .reduction = config.reduction,
                              .norm = config.attention_norm,
                              .init = config.attention_init};
  return std::make_unique<ODConv2d>(store, prefix, in_channels, out_channels, kernel_size, params, options);
}

}  // namespace

BasicBlock::BasicBlock(const ModelConfig& config, ParameterStore& store, const std::string& prefix,
                       std::int64_t in_channels, std::int64_t out_channels, std::int64_t stride)
    : conv1_(make_conv(config, store, prefix + "conv1.", in_channels, out_channels, 3, stride)),
      bn1_(store, prefix + "bn1.", out_channels),
      conv2_(make_conv(config, store, prefix + "conv2.", out_channels, out_channels, 3, 1)),
      bn2_(store, prefix + "bn2.", out_channels) {
  if (stride == 1 && in_channels == out_channels) return;
  shortcut_conv_ = make_conv(config, store, prefix + "downsample.0.", in_channels, out_channels, 1, stride);
  shortcut_bn_ = std::make_unique<BatchNorm>(store, prefix + "downsample.1.", out_channels);
}

Variable BasicBlock::forward(const Pass& pass, const Variable& input) const {
  const Variable hidden = bn1_.forward(pass, conv1_->forward(pass, input), true);
  const Variable output = conv2_->forward(pass, hidden);
  const Variable shortcut =
      shortcut_conv_ ? shortcut_bn_->forward(pass, shortcut_conv_->forward(pass, input), false) : input;
  return bn2_.forward(pass, output, true, shortcut);
}

Cost BasicBlock::cost(std::int64_t& height, std::int64_t& width) const {
  Cost cost = conv1_->cost(height, width);
  if (shortcut_conv_) cost += shortcut_conv_->cost(height, width);
  const ConvShape shape = conv1_->shape(height, width);
  height = shape.out_height();
  width = shape.out_width();
  cost += conv2_->cost(height, width);
  return cost;
}

}  // namespace omniconv
