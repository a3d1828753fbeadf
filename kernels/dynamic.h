// What the kernels of the dynamic convolution share: which pixels meet at a tap, and the attention of a sample. For .cu
// files only.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/half.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {

/// An extent as the kernels count them.
OMNI_HOST_DEVICE inline int narrow(std::int64_t extent) {
  return static_cast<int>(extent);
}

/// Extents, attention and weights (of T) of one convolution as the kernels see them.
template <class T>
struct Dynamic {
  using Value = compute_type_t<T>;

  AttentionValues<Value> attention;
  const T* weight;  // [K, O, taps, I/g]
  std::int64_t samples, in_pixels, out_pixels, in_channels, out_channels, taps, group_in, group_out;

  OMNI_HOST_DEVICE Value channel(std::int64_t n, std::int64_t i) const {
    return attention.channel ? attention.channel[n * in_channels + i] : Value(1);
  }
  OMNI_HOST_DEVICE Value filter(std::int64_t n, std::int64_t o) const {
    return attention.filter ? attention.filter[n * out_channels + o] : Value(1);
  }
  OMNI_HOST_DEVICE Value kernel(std::int64_t n, std::int64_t k) const {
    return attention.kernel ? attention.kernel[n * attention.kernels + k] : Value(1);
  }
  /// q_nkt = p_nk s_nt
  OMNI_HOST_DEVICE Value share(std::int64_t n, std::int64_t k, std::int64_t t) const {
    return attention.spatial ? kernel(n, k) * attention.spatial[n * taps + t] : kernel(n, k);
  }
  OMNI_HOST_DEVICE std::int64_t input_index(std::int64_t n, std::int64_t pixel, std::int64_t i) const {
    return (n * in_pixels + pixel) * in_channels + i;
  }
  OMNI_HOST_DEVICE std::int64_t output_index(std::int64_t n, std::int64_t pixel, std::int64_t o) const {
    return (n * out_pixels + pixel) * out_channels + o;
  }
  /// x ⊙ c of input [N, in_pixels, I]
  OMNI_HOST_DEVICE Value scaled_input(const T* input, std::int64_t n, std::int64_t pixel, std::int64_t i) const {
    return input[input_index(n, pixel, i)] * channel(n, i);
  }
  /// f ⊙ d_output of d_output [N, out_pixels, O]
  OMNI_HOST_DEVICE Value scaled_gradient(const T* d_output, std::int64_t n, std::int64_t pixel, std::int64_t o) const {
    return d_output[output_index(n, pixel, o)] * filter(n, o);
  }
  OMNI_HOST_DEVICE std::int64_t weight_index(std::int64_t k, std::int64_t o, std::int64_t t, std::int64_t i) const {
    return ((k * out_channels + o) * taps + t) * group_in + i;
  }
  OMNI_HOST_DEVICE Value aggregated(std::int64_t n, std::int64_t o, std::int64_t t, std::int64_t i) const {
    Value sum = 0;
    for (std::int64_t k = 0; k < attention.kernels; ++k) sum += share(n, k, t) * weight[weight_index(k, o, t, i)];
    return sum;
  }
};

/// Which pixels meet at a tap.
struct Geometry {
  std::int64_t height, width, out_height, out_width, kernel_width, stride, padding, dilation;

  /// Input pixel under tap t of output pixel p, or -1 in the padding.
  OMNI_HOST_DEVICE std::int64_t input_pixel(std::int64_t p, std::int64_t t) const {
    const std::int64_t h = p / out_width * stride - padding + t / kernel_width * dilation;
    const std::int64_t w = p % out_width * stride - padding + t % kernel_width * dilation;
    return h >= 0 && h < height && w >= 0 && w < width ? h * width + w : -1;
  }
  /// Output pixel whose tap t lies on input pixel p, or -1.
  OMNI_HOST_DEVICE std::int64_t output_pixel(std::int64_t p, std::int64_t t) const {
    const std::int64_t h = p / width + padding - t / kernel_width * dilation;
    const std::int64_t w = p % width + padding - t % kernel_width * dilation;
    if (h < 0 || w < 0 || h % stride != 0 || w % stride != 0) return -1;
    return h / stride < out_height && w / stride < out_width ? h / stride * out_width + w / stride : -1;
  }
};

inline Geometry geometry_of(const ConvShape& shape) {
  return {shape.height,       shape.width,         shape.out_height(),   shape.out_width(),
          shape.kernel_width, shape.params.stride, shape.params.padding, shape.params.dilation};
}

template <class T>
Dynamic<T> dynamic_of(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* weight) {
  return {.attention = attention,
          .weight = weight,
          .samples = shape.samples,
          .in_pixels = shape.in_pixels(),
          .out_pixels = shape.out_pixels(),
          .in_channels = shape.in_channels,
          .out_channels = shape.out_channels,
          .taps = shape.taps(),
          .group_in = shape.group_in(),
          .group_out = shape.group_out()};
}

}  // namespace omniconv::kernels
