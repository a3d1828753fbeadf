// Problems for the 16-bit kernels of the dynamic convolution: operands that a 16-bit type holds exactly, on the device,
// and the solution by plain loops in f64.
#pragma once

#include <algorithm>
#include <string>

#include "kernels/simt/launch.h"
#include "tests/device_array.h"
#include "tests/random.h"
#include "tests/reference_conv.h"
#include "tests/tolerance.h"

namespace omniconv::test {

/// A dynamic convolution; attention is absent where it is not asked for.
struct ConvCase {
  ConvShape shape;
  std::int64_t kernels = 1;
  bool channel = true, filter = true, spatial = true, kernel = true;

  std::string text() const {
    const ConvShape& s = shape;
    return concat("N ", s.samples, ", ", s.height, "x", s.width, ", ", s.in_channels, "->", s.out_channels, ", ",
                  s.kernel_height, "x", s.kernel_width, ", stride ", s.params.stride, ", padding ", s.params.padding,
                  ", dilation ", s.params.dilation, ", groups ", s.params.groups, ", K ", kernels);
  }
};

/// Uniform values that Half holds exactly.
template <class Half>
reference::Values half_values(std::int64_t count, std::uint64_t seed) {
  reference::Values values = uniform_values(count, seed);
  for (double& value : values) value = Half(static_cast<float>(value));
  return values;
}

template <class T>
DeviceArray<T> on_device(const reference::Values& values) {
  std::vector<T> converted(values.size());
  std::transform(values.begin(), values.end(), converted.begin(), [](double v) { return T(static_cast<float>(v)); });
  return DeviceArray<T>(converted);
}

template <class Half>
struct HalfProblem {
  reference::DynamicConv conv;
  reference::Values upstream;  // d_output
  DeviceArray<Half> input, weight, d_output;
  DeviceArray<float> channel, filter, spatial, kernel;

  HalfProblem(const ConvCase& c, std::uint64_t seed)
      : conv(problem_of(c, seed)),
        upstream(half_values<Half>(c.shape.output_count(), seed * 16 + 7)),
        input(on_device<Half>(conv.input)),
        weight(on_device<Half>(conv.weight)),
        d_output(on_device<Half>(upstream)),
        channel(on_device<float>(conv.channel)),
        filter(on_device<float>(conv.filter)),
        spatial(on_device<float>(conv.spatial)),
        kernel(on_device<float>(conv.kernel)) {}

  AttentionValues<float> attention() const {
    const auto present = [](const reference::Values& values, const DeviceArray<float>& array) {
      return values.empty() ? nullptr : array.data();
    };
    return {present(conv.channel, channel), present(conv.filter, filter), present(conv.spatial, spatial),
            present(conv.kernel, kernel), conv.kernels};
  }

 private:
  static reference::DynamicConv problem_of(const ConvCase& c, std::uint64_t seed) {
    const ConvShape& s = c.shape;
    const auto attention = [&](bool present, std::int64_t count, std::uint64_t number) {
      reference::Values values;
      if (present)
        for (double value : uniform_values(count, seed * 16 + number))
          values.push_back(static_cast<float>(0.5 + 0.45 * value));
      return values;
    };
    return {.shape = s,
            .kernels = c.kernels,
            .input = half_values<Half>(s.input_count(), seed * 16 + 1),
            .weight = half_values<Half>(c.kernels * s.weight_count(), seed * 16 + 2),
            .channel = attention(c.channel, s.samples * s.in_channels, 3),
            .filter = attention(c.filter, s.samples * s.out_channels, 4),
            .spatial = attention(c.spatial, s.samples * s.taps(), 5),
            .kernel = attention(c.kernel, s.samples * c.kernels, 6)};
  }
};

/// What a gradient is that was added to what was there before.
inline reference::Values added(reference::Values gradient, const reference::Values& before, bool accumulate) {
  if (accumulate) std::transform(gradient.begin(), gradient.end(), before.begin(), gradient.begin(), std::plus<>());
  return gradient;
}

/// Calls body() with threads in several shuffled orders, where the device is the CPU; else once.
template <class Body>
void in_shuffled_orders(const Body& body) {
#if OMNICONV_CUDA
  body();
#else
  const auto before = simt::detail::thread_order_seed();
  for (std::uint64_t order = 1; order <= 4; ++order) {
    simt::set_thread_order_seed(order);
    INFO("thread order " << order);
    body();
  }
  simt::set_thread_order_seed(before);
#endif
}

}  // namespace omniconv::test
