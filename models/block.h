// The blocks that ResNets are made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/resnet.h"

namespace omniconv {

/// relu(bn(conv(.. relu(bn1(conv1(x))))) + shortcut(x)), the shortcut being x itself or bn(1x1 convolution).
///
/// A basic block has two 3x3 convolutions of `channels`. A bottleneck has a 1x1 and a 3x3 one of `channels` and a 1x1
/// one of four times as many (He et al. 2016). The first 3x3 convolution has the stride.
class Block {
 public:
  /// Of `config` it takes the kind of block and what the convolutions are, not their channels. There is a shortcut
  /// convolution where the stride or the channels change.
  Block(const ModelConfig& config, ParameterStore& store, const std::string& prefix, std::int64_t in_channels,
        std::int64_t channels, std::int64_t stride);

  /// input [N, H, W, I] -> [N, OH, OW, out_channels()], OH = ceil(H / stride).
  Variable forward(const Pass& pass, const Variable& input) const;

  std::int64_t out_channels() const { return out_channels_; }

  /// For one image of `height` x `width` pixels, which become those of the output.
  Cost cost(std::int64_t& height, std::int64_t& width) const;

 private:
  std::int64_t out_channels_;
  std::vector<NormedConv> convs_;
  std::optional<NormedConv> shortcut_;
};

}  // namespace omniconv
