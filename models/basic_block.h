// The block that ResNet-18 and -34 are made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "models/resnet.h"

namespace omniconv {

/// relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)), the shortcut being x itself or bn(1x1 convolution).
class BasicBlock {
 public:
  /// Of `config` it takes what the convolutions are, not their channels. There is a shortcut convolution where the
  /// stride or the channels change.
  BasicBlock(const ModelConfig& config, ParameterStore& store, const std::string& prefix, std::int64_t in_channels,
             std::int64_t out_channels, std::int64_t stride);

  /// input [N, H, W, I] -> [N, OH, OW, O], OH = ceil(H / stride).
  Variable forward(const Pass& pass, const Variable& input) const;

  /// For one image of `height` x `width` pixels, which become those of the output.
  Cost cost(std::int64_t& height, std::int64_t& width) const;

 private:
  NormedConv conv1_, conv2_;
  std::optional<NormedConv> shortcut_;
};

}  // namespace omniconv
