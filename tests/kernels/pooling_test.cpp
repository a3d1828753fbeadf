#include "kernels/pooling.h"

#include "tests/device_array.h"
#include "tests/gradient_check.h"
#include "tests/reference.h"

namespace omniconv::test {
namespace {

using reference::doubles;

struct PoolShape {
  std::int64_t samples, pixels, channels;

  std::int64_t count() const { return samples * pixels * channels; }
};

PoolShape some_shape() {
  const auto [samples, pixels, channels] = GENERATE(table<std::int64_t, std::int64_t, std::int64_t>(
      {{1, 1, 1}, {2, 16, 8}, {3, 49, 10}, {2, 1024, 16}, {5, 4, 24}, {2, 64, 512}, {4, 9, 37}, {0, 4, 4}}));
  return {samples, pixels, channels};
}

TEMPLATE_TEST_CASE("the global average pool and its gradient equal plain loops", KERNEL_TAGS, float, double, bf16,
                   f16) {
  using T = TestType;
  using Value = compute_type_t<T>;
  const PoolShape s = some_shape();
  CAPTURE(s.samples, s.pixels, s.channels);
  const auto input = uniform_values<T>(s.count(), 1);
  const auto d_output = uniform_values<Value>(s.samples * s.channels, 2);
  const DeviceArray<T> device_input(input);
  const DeviceArray<Value> output(s.samples * s.channels), device_d_output(d_output);
  kernels::global_average_pool_forward<T>(device_input, output, s.samples, s.pixels, s.channels, main_stream());
  auto expected = reference::column_sums(doubles(input), s.samples, s.pixels, s.channels);
  for (double& value : expected) value /= static_cast<double>(s.pixels);
  require_close(output.to_host(), expected, Tolerance::rounding<Value>());

  const bool accumulate = GENERATE(false, true);
  const DeviceArray<T> d_input(input);
  kernels::global_average_pool_backward<T>(device_d_output, d_input, s.samples, s.pixels, s.channels, accumulate,
                                           main_stream());
  std::vector<double> expected_gradient(input.size());
  for (std::int64_t i = 0; i < s.count(); ++i) {
    const std::int64_t n = i / (s.pixels * s.channels), c = i % s.channels;
    expected_gradient[i] =
        d_output[n * s.channels + c] / static_cast<double>(s.pixels) + (accumulate ? static_cast<double>(input[i]) : 0);
  }
  require_close(d_input.to_host(), expected_gradient, Tolerance::rounding<T>());
}

TEMPLATE_TEST_CASE("pixel dots equal the plain loop", KERNEL_TAGS, float, double, bf16, f16) {
  using T = TestType;
  using Value = compute_type_t<T>;
  const PoolShape s = some_shape();
  CAPTURE(s.samples, s.pixels, s.channels);
  const auto a = uniform_values<T>(s.count(), 1), b = uniform_values<T>(s.count(), 2);
  const DeviceArray<T> device_a(a), device_b(b);
  const DeviceArray<Value> sums(s.samples * s.channels);
  kernels::pixel_dot<T>(device_a, device_b, sums, s.samples, s.pixels, s.channels, main_stream());
  auto products = doubles(a);
  for (std::size_t i = 0; i < products.size(); ++i) products[i] *= b[i];
  require_close(sums.to_host(), reference::column_sums(products, s.samples, s.pixels, s.channels),
                Tolerance::rounding<Value>());
}

TEMPLATE_TEST_CASE("channels are scaled per sample", KERNEL_TAGS, float, double, bf16, f16) {
  using T = TestType;
  using Value = compute_type_t<T>;
  const PoolShape s = some_shape();
  const bool accumulate = GENERATE(false, true);
  CAPTURE(s.samples, s.pixels, s.channels, accumulate);
  const auto input = uniform_values<T>(s.count(), 1), before = uniform_values<T>(s.count(), 3);
  const auto scale = uniform_values<Value>(s.samples * s.channels, 2);
  const DeviceArray<T> device_input(input), output(before);
  const DeviceArray<Value> device_scale(scale);
  kernels::scale_channels<T>(device_input, device_scale, output, s.samples, s.pixels, s.channels, accumulate,
                             main_stream());
  std::vector<double> expected(input.size());
  for (std::int64_t i = 0; i < s.count(); ++i) {
    const std::int64_t n = i / (s.pixels * s.channels), c = i % s.channels;
    expected[i] =
        static_cast<double>(input[i]) * scale[n * s.channels + c] + (accumulate ? static_cast<double>(before[i]) : 0);
  }
  require_close(output.to_host(), expected, Tolerance::rounding<T>());
}

TEST_CASE("arrays that are not aligned for vectors are taken too", KERNEL_TAGS) {
  // Part of a larger array may begin anywhere.
  const std::int64_t samples = 2, pixels = 5, channels = 16, count = samples * pixels * channels;
  const auto input = uniform_values<float>(count + 1, 1), scale = uniform_values<float>(samples * channels, 2);
  const DeviceArray<float> device_input(input), device_scale(scale), output(count);
  kernels::scale_channels<float>(device_input + 1, device_scale, output, samples, pixels, channels, false,
                                 main_stream());
  std::vector<float> expected(output.to_host().size());
  for (std::int64_t i = 0; i < count; ++i)
    expected[i] = input[i + 1] * scale[i / (pixels * channels) * channels + i % channels];
  CHECK(output.to_host() == expected);
}

TEST_CASE("gradient of the global average pool", KERNEL_TAGS) {
  const std::int64_t samples = 2, pixels = 6, channels = 5;
  check_gradient(
      "global average pool",
      [&](const Vector& input) {
        const DeviceArray<double> device_input(input), output(samples * channels);
        kernels::global_average_pool_forward<double>(device_input, output, samples, pixels, channels, main_stream());
        return output.to_host();
      },
      [&](const Vector& input, const Vector& cotangent) {
        const DeviceArray<double> d_output(cotangent), d_input(input);
        kernels::global_average_pool_backward<double>(d_output, d_input, samples, pixels, channels, false,
                                                      main_stream());
        return d_input.to_host();
      },
      uniform_values(samples * pixels * channels, 1));
}

TEST_CASE("gradients of scaled channels: a scale for the input, a pixel dot for the scale", KERNEL_TAGS) {
  const std::int64_t samples = 2, pixels = 4, channels = 3;
  const auto input = uniform_values(samples * pixels * channels, 1), scale = uniform_values(samples * channels, 2);
  const auto scaled = [&](const Vector& of_input, const Vector& of_scale) {
    const DeviceArray<double> device_input(of_input), device_scale(of_scale), output(samples * pixels * channels);
    kernels::scale_channels<double>(device_input, device_scale, output, samples, pixels, channels, false,
                                    main_stream());
    return output.to_host();
  };
  check_gradient(
      "scaled channels by input", [&](const Vector& x) { return scaled(x, scale); },
      [&](const Vector&, const Vector& cotangent) { return scaled(cotangent, scale); }, input);
  check_gradient(
      "scaled channels by scale", [&](const Vector& s) { return scaled(input, s); },
      [&](const Vector&, const Vector& cotangent) {
        const DeviceArray<double> device_input(input), d_output(cotangent), d_scale(samples * channels);
        kernels::pixel_dot<double>(d_output, device_input, d_scale, samples, pixels, channels, main_stream());
        return d_scale.to_host();
      },
      scale);
}

TEST_CASE("a pool refuses shapes without pixels or channels", "[kernels]") {
  CHECK_THROWS_WITH(kernels::global_average_pool_forward<float>(nullptr, nullptr, 2, 0, 8, main_stream()),
                    "[pooling] expected a shape of samples, pixels and channels with at least 1 pixel and 1 channel, "
                    "got [2, 0, 8]");
  CHECK_THROWS_AS(kernels::global_average_pool_backward<float>(nullptr, nullptr, 2, 0, 8, false, main_stream()), Error);
  CHECK_THROWS_AS(kernels::pixel_dot<float>(nullptr, nullptr, nullptr, 2, 4, 0, main_stream()), Error);
  CHECK_THROWS_AS(kernels::scale_channels<float>(nullptr, nullptr, nullptr, -1, 4, 8, false, main_stream()), Error);
}

}  // namespace
}  // namespace omniconv::test
