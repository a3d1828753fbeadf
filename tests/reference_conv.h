// The dynamic convolution and its gradients as plain loops over their definition.
#pragma once

#include <vector>

#include "kernels/conv_shape.h"

namespace omniconv::reference {

using Values = std::vector<double>;

/// Attention values and weights; an empty attention stands for ones.
struct DynamicConv {
  ConvShape shape;
  std::int64_t kernels = 1;
  Values input;   // [N, H, W, I]
  Values weight;  // [K, O, R, S, I/g]
  Values channel, filter, spatial, kernel;

  double c(std::int64_t n, std::int64_t i) const { return channel.empty() ? 1 : channel[n * shape.in_channels + i]; }
  double f(std::int64_t n, std::int64_t o) const { return filter.empty() ? 1 : filter[n * shape.out_channels + o]; }
  double q(std::int64_t n, std::int64_t k, std::int64_t t) const {
    return (kernel.empty() ? 1 : kernel[n * kernels + k]) * (spatial.empty() ? 1 : spatial[n * shape.taps() + t]);
  }

  /// Calls visit(n, output index, input index, k, weight index, o, i, t) for every product of the sum.
  template <class Visit>
  void for_each_product(const Visit& visit) const {
    const ConvShape& s = shape;
    for (std::int64_t n = 0; n < s.samples; ++n)
      for (std::int64_t oh = 0; oh < s.out_height(); ++oh)
        for (std::int64_t ow = 0; ow < s.out_width(); ++ow)
          for (std::int64_t o = 0; o < s.out_channels; ++o)
            for (std::int64_t t = 0; t < s.taps(); ++t) {
              const std::int64_t h = oh * s.params.stride - s.params.padding + t / s.kernel_width * s.params.dilation;
              const std::int64_t w = ow * s.params.stride - s.params.padding + t % s.kernel_width * s.params.dilation;
              if (h < 0 || h >= s.height || w < 0 || w >= s.width) continue;
              for (std::int64_t j = 0; j < s.group_in(); ++j) {
                const std::int64_t i = o / s.group_out() * s.group_in() + j;
                const std::int64_t y = ((n * s.out_height() + oh) * s.out_width() + ow) * s.out_channels + o;
                const std::int64_t x = ((n * s.height + h) * s.width + w) * s.in_channels + i;
                for (std::int64_t k = 0; k < kernels; ++k)
                  visit(n, y, x, k, ((k * s.out_channels + o) * s.taps() + t) * s.group_in() + j, o, i, t);
              }
            }
  }

  Values forward() const {
    Values output(static_cast<std::size_t>(shape.output_count()));
    for_each_product([&](auto n, auto y, auto x, auto k, auto w, auto o, auto i, auto t) {
      output[y] += f(n, o) * q(n, k, t) * weight[w] * c(n, i) * input[x];
    });
    return output;
  }

  struct Gradients {
    Values input, weight;             // as the values
    Values weighted_channel;          // C = c dL/dc [N, I]
    Values weighted_kst;              // Q [N, K, R·S]
    Values weighted_kernel, weighted_spatial;  // p dL/dp [N, K], s dL/ds [N, R·S]
  };

  Gradients backward(const Values& d_output) const {
    Gradients g;
    g.input.resize(input.size());
    g.weight.resize(weight.size());
    g.weighted_channel.resize(static_cast<std::size_t>(shape.samples * shape.in_channels));
    g.weighted_kst.resize(static_cast<std::size_t>(shape.samples * kernels * shape.taps()));
    g.weighted_kernel.resize(static_cast<std::size_t>(shape.samples * kernels));
    g.weighted_spatial.resize(static_cast<std::size_t>(shape.samples * shape.taps()));
    for_each_product([&](auto n, auto y, auto x, auto k, auto w, auto o, auto i, auto t) {
      const double factor = d_output[y] * f(n, o) * q(n, k, t) * c(n, i);
      g.input[x] += factor * weight[w];
      g.weight[w] += factor * input[x];
      const double whole = factor * weight[w] * input[x];
      g.weighted_channel[n * shape.in_channels + i] += whole;
      g.weighted_kst[(n * kernels + k) * shape.taps() + t] += whole;
      g.weighted_kernel[n * kernels + k] += whole;
      g.weighted_spatial[n * shape.taps() + t] += whole;
    });
    return g;
  }
};

}  // namespace omniconv::reference
