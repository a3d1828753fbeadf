// Max-pool over square windows. Gradients of bf16 or f16 add up in float.
#pragma once

#include <cstdint>

#include "kernels/half.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// How a max-pool walks over its input. By default the one of ImageNet's ResNets.
struct MaxPoolParams {
  std::int64_t window = 3;   ///< height and width, 1 to 15
  std::int64_t stride = 2;   ///< at least 1
  std::int64_t padding = 1;  ///< at most half the window, so that every window holds a pixel
};

/// All extents of one max-pool. Input [N, H, W, C], output [N, OH, OW, C]. What lies outside the image is never the
/// largest.
struct MaxPoolShape {
  std::int64_t samples = 0, height = 0, width = 0, channels = 0;  ///< N, H, W, C
  MaxPoolParams params{};

  std::int64_t out_height() const { return out_extent(height); }
  std::int64_t out_width() const { return out_extent(width); }

 private:
  std::int64_t out_extent(std::int64_t extent) const {
    return (extent + 2 * params.padding - params.window) / params.stride + 1;
  }
};

/// @throws Error for windows or images that make no max-pool.
void check(const MaxPoolShape& shape);

/// output[n, oh, ow, c] = the largest pixel of the window whose first tap is (oh, ow)·stride - padding, and taps its
/// tap, row · window + column: the first of equals; a NaN counts as the largest. taps u8, shaped like the
/// output, or nullptr where no backward follows.
template <class T>
void max_pool_forward(const MaxPoolShape& shape, const T* input, T* output, std::uint8_t* taps, Stream stream);

/// d_input (+)= the sum of d_output over the windows that chose the pixel.
template <class T>
void max_pool_backward(const MaxPoolShape& shape, const T* d_output, const std::uint8_t* taps, T* d_input,
                       bool accumulate, Stream stream);

}  // namespace omniconv::kernels
