// What the CPU's forms of the dynamic convolution share.
#pragma once

#include <vector>

#include "kernels/conv_shape.h"

namespace omniconv::conv {

/// q [K, R·S] of sample n: q_kt = p_nk s_nt.
inline void sample_shares(const ConvShape& shape, const AttentionValues<float>& attention, std::int64_t n,
                          float* shares) {
  for (std::int64_t k = 0; k < attention.kernels; ++k) {
    const float p = attention.kernel ? attention.kernel[n * attention.kernels + k] : 1.0f;
    for (std::int64_t t = 0; t < shape.taps(); ++t)
      *shares++ = attention.spatial ? p * attention.spatial[n * shape.taps() + t] : p;
  }
}
inline void sample_shares(const ConvShape& shape, const AttentionValues<float>& attention, std::int64_t n,
                          std::vector<float>& shares) {
  shares.resize(static_cast<std::size_t>(attention.kernels * shape.taps()));
  sample_shares(shape, attention, n, shares.data());
}

/// q [N, K, R·S] of all samples.
inline std::vector<float> all_shares(const ConvShape& shape, const AttentionValues<float>& attention) {
  const std::int64_t count = attention.kernels * shape.taps();
  std::vector<float> shares(static_cast<std::size_t>(shape.samples * count));
  for (std::int64_t n = 0; n < shape.samples; ++n) sample_shares(shape, attention, n, shares.data() + n * count);
  return shares;
}

/// weighted [N, K, R·S] = q ⊙ Σ of `parts` dots, each like q.
inline void weigh_dots(const std::vector<float>& shares, const float* dots, std::int64_t parts, float* weighted) {
  const auto count = static_cast<std::int64_t>(shares.size());
  for (std::int64_t e = 0; e < count; ++e) {
    float sum = 0;
    for (std::int64_t part = 0; part < parts; ++part) sum += dots[part * count + e];
    weighted[e] = shares[static_cast<std::size_t>(e)] * sum;
  }
}

/// `count` output pixels of a row, from `out` on, that at some tap read every stride-th input pixel from `in` on.
struct PixelRun {
  std::int64_t out, in, count;
};

/// For each tap the pixels of a sample that meet there; what would lie in the padding is left out.
inline std::vector<std::vector<PixelRun>> pixel_runs(const ConvShape& shape) {
  const Conv2dParams& p = shape.params;
  const std::int64_t out_width = shape.out_width();
  std::vector<std::vector<PixelRun>> result(static_cast<std::size_t>(shape.taps()));
  for (std::int64_t t = 0; t < shape.taps(); ++t) {
    const std::int64_t down = t / shape.kernel_width * p.dilation - p.padding;
    const std::int64_t right = t % shape.kernel_width * p.dilation - p.padding;
    std::int64_t first = 0, last = out_width;  // columns of the output whose input column exists
    while (first < out_width && first * p.stride + right < 0) ++first;
    while (last > first && (last - 1) * p.stride + right >= shape.width) --last;
    if (first == last) continue;
    for (std::int64_t oh = 0; oh < shape.out_height(); ++oh) {
      const std::int64_t h = oh * p.stride + down;
      if (h >= 0 && h < shape.height)
        result[static_cast<std::size_t>(t)].push_back(
            {oh * out_width + first, h * shape.width + first * p.stride + right, last - first});
    }
  }
  return result;
}

}  // namespace omniconv::conv
