// Kernels in the order in which the CPU's own convolutions read them: panels of the channels that a result has.
#pragma once

#include <cstdint>

#include "engine/conv/plan.h"
#include "engine/tensor.h"
#include "kernels/conv_shape.h"

namespace omniconv::conv {

/// A pass of a convolution, from a source to a target: forward from the input to the output, the data gradient
/// from the output's gradient to the input's.
struct ConvPass {
  std::int64_t source_height, source_width, source_channels;
  std::int64_t height, width, channels;  // of the target

  ConvPass(const ConvShape& shape, Direction direction);
  std::int64_t source_pixels() const { return source_height * source_width; }
  std::int64_t pixels() const { return height * width; }
};

/// From `first` on `count` many.
struct Range {
  std::int64_t first, count;
};

/// A piece of the kernels: target channels (a multiple of 16), neighbouring taps and source channels.
struct PanelPiece {
  Range channels, taps, sources;

  std::int64_t size() const { return channels.count * taps.count * sources.count; }
};

/// The piece of one kernel [O, R, S, I] as [source channels, taps, channels].
void pack_piece(const ConvShape& shape, Direction direction, const PanelPiece& piece, const float* weight, float* to);

/// The kernels [K, O, R, S, I] as [channels / width, K, R·S / taps, source channels, taps, width]: panels of `width`
/// target channels, a multiple of 16 that divides them, and of groups of `taps` neighbouring taps.
Tensor pack_panels(const ConvShape& shape, Direction direction, std::int64_t width, std::int64_t taps,
                   std::int64_t kernels, const float* weight);

/// Activations [N, pixels, channels] ⊙ scale [N, channels], unless nullptr, as [N, channels, pixels]. Pixels are a
/// multiple of 16.
Tensor channel_major(std::int64_t samples, std::int64_t pixels, std::int64_t channels, const float* activations,
                     const float* scale);

}  // namespace omniconv::conv
