// What the streamed passes and their weight gradient share: their limits and, of 3x3 kernels with 4x4 results, who
// reads which pixel, which is known when the program is compiled.
#pragma once

#include <optional>

#include "engine/conv/plan.h"
#include "kernels/conv_shape.h"

namespace omniconv::conv {

inline constexpr int most_pixels = 16;  // of a result
inline constexpr int most_kernels = 4;  // whose shares stay in registers

/// The source of a 4x4 result that is unrolled for it: `extent` rows and columns, of which every `stride`-th is the
/// neighbour of a pixel of the result.
struct Window {
  int extent, stride;

  constexpr int pixels() const { return extent * extent; }
  constexpr bool operator==(const Window&) const = default;
};
inline constexpr Window same_extent{4, 1}, twice_the_extent{8, 2};

/// A tap reads the source `down` and `right` of a pixel's neighbour.
struct Tap {
  int down, right;

  constexpr bool reaches(Window window, int pixel) const {
    const int row = pixel / 4 * window.stride + down, column = pixel % 4 * window.stride + right;
    return row >= 0 && row < window.extent && column >= 0 && column < window.extent;
  }
  constexpr int source(Window window, int pixel) const {
    return (pixel / 4 * window.stride + down) * window.extent + pixel % 4 * window.stride + right;
  }
};

/// What of the shape is unrolled, if any.
inline std::optional<Window> window_of(const ConvShape& shape, Direction direction) {
  const Conv2dParams& p = shape.params;
  if (shape.kernel_height != 3 || shape.kernel_width != 3 || p.padding != 1 || p.dilation != 1) return std::nullopt;
  for (const Window window : {same_extent, twice_the_extent})
    if (shape.height == window.extent && shape.width == window.extent && p.stride == window.stride &&
        (direction == Direction::forward || window == same_extent))
      return window;
  return std::nullopt;
}

}  // namespace omniconv::conv
