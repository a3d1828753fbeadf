// The geometry of a 2-D convolution, shared by the kernels, the libraries and the engine.
#pragma once

#include <compare>
#include <cstdint>

namespace omniconv {

/// How a convolution walks over its input, the same in both directions.
struct Conv2dParams {
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t dilation = 1;
  std::int64_t groups = 1;

  auto operator<=>(const Conv2dParams&) const = default;
};

/// All extents of one convolution. Input [N, H, W, I], weight [O, R, S, I/g], output [N, OH, OW, O].
struct ConvShape {
  std::int64_t samples = 0;          ///< N
  std::int64_t height = 0;           ///< H
  std::int64_t width = 0;            ///< W
  std::int64_t in_channels = 0;      ///< I
  std::int64_t out_channels = 0;     ///< O
  std::int64_t kernel_height = 0;    ///< R
  std::int64_t kernel_width = 0;     ///< S
  Conv2dParams params;

  auto operator<=>(const ConvShape&) const = default;

  std::int64_t out_height() const { return out_extent(height, kernel_height); }
  std::int64_t out_width() const { return out_extent(width, kernel_width); }
  std::int64_t in_pixels() const { return height * width; }
  std::int64_t out_pixels() const { return out_height() * out_width(); }
  std::int64_t taps() const { return kernel_height * kernel_width; }
  std::int64_t group_in() const { return in_channels / params.groups; }
  std::int64_t group_out() const { return out_channels / params.groups; }
  /// Elements of one kernel [O, R, S, I/g].
  std::int64_t weight_count() const { return out_channels * taps() * group_in(); }
  std::int64_t input_count() const { return samples * in_pixels() * in_channels; }
  std::int64_t output_count() const { return samples * out_pixels() * out_channels; }

 private:
  std::int64_t out_extent(std::int64_t extent, std::int64_t kernel) const {
    return (extent + 2 * params.padding - params.dilation * (kernel - 1) - 1) / params.stride + 1;
  }
};

/// The four attentions of ODConv; a nullptr stands for ones. With all four absent and kernels == 1 the dynamic
/// convolution is a static one.
template <class T>
struct AttentionValues {
  const T* channel = nullptr;  ///< c [N, I]
  const T* filter = nullptr;   ///< f [N, O]
  const T* spatial = nullptr;  ///< s [N, R·S]
  const T* kernel = nullptr;   ///< p [N, K]
  std::int64_t kernels = 1;    ///< K
};

}  // namespace omniconv
