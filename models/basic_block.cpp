#include "models/basic_block.h"

namespace omniconv {

namespace {

NormedConv make_conv(const ModelConfig& config, ParameterStore& store, const std::string& prefix,
                     const std::string& norm_prefix, std::int64_t in_channels, std::int64_t out_channels,
                     std::int64_t kernel_size, std::int64_t stride) {
  const Conv2dParams params{.stride = stride, .padding = kernel_size / 2, .dilation = 1, .groups = 1};
  const bool shortcut = kernel_size == 1;
  std::unique_ptr<ConvLayer> conv;
  if (!config.dynamic() || (shortcut && config.downsample == Downsample::fixed)) {
    conv = std::make_unique<Conv2d>(store, prefix, in_channels, out_channels, kernel_size, params);
  } else {
    const ODConvOptions options{.kernels = shortcut ? 1 : config.kernels,
                                .reduction = config.reduction,
                                .norm = config.attention_norm,
                                .init = config.attention_init,
                                .folded = config.folded};
    conv = std::make_unique<ODConv2d>(store, prefix, in_channels, out_channels, kernel_size, params, options);
  }
  return {store, prefix, norm_prefix, std::move(conv), out_channels, config.folded};
}

}  // namespace

BasicBlock::BasicBlock(const ModelConfig& config, ParameterStore& store, const std::string& prefix,
                       std::int64_t in_channels, std::int64_t out_channels, std::int64_t stride)
    : conv1_(make_conv(config, store, prefix + "conv1.", prefix + "bn1.", in_channels, out_channels, 3, stride)),
      conv2_(make_conv(config, store, prefix + "conv2.", prefix + "bn2.", out_channels, out_channels, 3, 1)) {
  if (stride == 1 && in_channels == out_channels) return;
  shortcut_ = make_conv(config, store, prefix + "downsample.0.", prefix + "downsample.1.", in_channels, out_channels, 1,
                        stride);
}

Variable BasicBlock::forward(const Pass& pass, const Variable& input) const {
  const Variable hidden = conv1_.forward(pass, input, true);
  const Variable shortcut = shortcut_ ? shortcut_->forward(pass, input, false) : input;
  return conv2_.forward(pass, hidden, true, shortcut);
}

Cost BasicBlock::cost(std::int64_t& height, std::int64_t& width) const {
  Cost cost = conv1_.conv().cost(height, width);
  if (shortcut_) cost += shortcut_->conv().cost(height, width);
  const ConvShape shape = conv1_.conv().shape(height, width);
  height = shape.out_height();
  width = shape.out_width();
  cost += conv2_.conv().cost(height, width);
  return cost;
}

}  // namespace omniconv
