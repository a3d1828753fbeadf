#include "kernels/max_pool.h"

#include <limits>

#include "tests/device_array.h"
#include "tests/gradient_check.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

using kernels::MaxPoolShape;

std::int64_t in_count(const MaxPoolShape& s) {
  return s.samples * s.height * s.width * s.channels;
}
std::int64_t out_count(const MaxPoolShape& s) {
  return s.samples * s.out_height() * s.out_width() * s.channels;
}

/// Index of the input pixel that each output takes: the first of the largest ones in its window.
template <class T>
std::vector<std::int64_t> chosen_pixels(const MaxPoolShape& s, const std::vector<T>& input) {
  std::vector<std::int64_t> chosen;
  for (std::int64_t n = 0; n < s.samples; ++n)
    for (std::int64_t oh = 0; oh < s.out_height(); ++oh)
      for (std::int64_t ow = 0; ow < s.out_width(); ++ow)
        for (std::int64_t c = 0; c < s.channels; ++c) {
          std::int64_t best = -1;
          for (std::int64_t h = oh * s.params.stride - s.params.padding;
               h < oh * s.params.stride - s.params.padding + s.params.window; ++h)
            for (std::int64_t w = ow * s.params.stride - s.params.padding;
                 w < ow * s.params.stride - s.params.padding + s.params.window; ++w) {
              if (h < 0 || h >= s.height || w < 0 || w >= s.width) continue;
              const std::int64_t at = ((n * s.height + h) * s.width + w) * s.channels + c;
              if (best < 0 || input[at] > input[best]) best = at;
            }
          chosen.push_back(best);
        }
  return chosen;
}

template <class T>
struct Pooled {
  std::vector<T> output;
  DeviceArray<std::uint8_t> taps;

  Pooled(const MaxPoolShape& shape, const std::vector<T>& input) : taps(out_count(shape)) {
    const DeviceArray<T> device_input(input), device_output(out_count(shape));
    kernels::max_pool_forward<T>(shape, device_input, device_output, taps, main_stream());
    output = device_output.to_host();
  }
};

MaxPoolShape some_shape() {
  return GENERATE(values<MaxPoolShape>({
      {2, 8, 8, 16},            // the official stem's 3x3 of stride 2
      {3, 7, 5, 3},             // odd extents
      {1, 1, 1, 1},             // one pixel in a padded window
      {2, 6, 9, 5, {2, 2, 0}},  // windows that do not overlap; the last column belongs to none
      {2, 5, 6, 4, {5, 1, 2}},  // every pixel in up to 25 windows
      {1, 9, 9, 2, {2, 3, 1}},  // pixels between the windows
      {0, 4, 4, 4},
      {5, 64, 64, 8},  // on several threads
  }));
}

TEMPLATE_TEST_CASE("max-pool and its gradient equal plain loops", KERNEL_TAGS, float, double, bf16, f16) {
  using T = TestType;
  const MaxPoolShape s = some_shape();
  CAPTURE(s.samples, s.height, s.width, s.channels, s.params.window, s.params.stride, s.params.padding);
  auto input = uniform_values<T>(in_count(s), 1);
  for (T& pixel : input)
    pixel = static_cast<T>(std::round(4 * static_cast<double>(pixel)));  // so that windows have several largest pixels
  const auto chosen = chosen_pixels(s, input);
  const Pooled<T> pooled(s, input);
  std::vector<T> expected;
  for (const std::int64_t at : chosen) expected.push_back(input[at]);
  CHECK(pooled.output == expected);

  const bool accumulate = GENERATE(false, true);
  const auto d_output = uniform_values<T>(out_count(s), 2);
  const DeviceArray<T> device_d_output(d_output), d_input(input);
  kernels::max_pool_backward<T>(s, device_d_output, pooled.taps, d_input, accumulate, main_stream());
  std::vector<double> expected_gradient(input.size());
  if (accumulate) expected_gradient.assign(input.begin(), input.end());
  for (std::size_t i = 0; i < chosen.size(); ++i) expected_gradient[chosen[i]] += d_output[i];
  require_close(d_input.to_host(), expected_gradient, Tolerance::rounding<T>());
}

TEST_CASE("padding is never the largest, and a NaN is not lost", KERNEL_TAGS) {
  const MaxPoolShape shape{1, 3, 3, 1};
  const Pooled<double> negative(shape, std::vector<double>(9, -5));
  CHECK(negative.output == std::vector<double>(4, -5));
  std::vector<double> input{1, 2, 3, 4, std::numeric_limits<double>::quiet_NaN(), 6, 7, 8, 9};
  for (const double largest : Pooled<double>(shape, input).output) CHECK(std::isnan(largest));
  input[4] = -std::numeric_limits<double>::infinity();
  CHECK(Pooled<double>(shape, input).output == std::vector<double>{4, 6, 8, 9});
}

TEST_CASE("gradient of the max-pool", KERNEL_TAGS) {
  const MaxPoolShape shape{2, 5, 4, 3};
  check_gradient(
      "max-pool", [&](const Vector& input) { return Pooled<double>(shape, input).output; },
      [&](const Vector& input, const Vector& cotangent) {
        const Pooled<double> pooled(shape, input);
        const DeviceArray<double> d_output(cotangent), d_input(input);
        kernels::max_pool_backward<double>(shape, d_output, pooled.taps, d_input, false, main_stream());
        return d_input.to_host();
      },
      uniform_values(in_count(shape), 1));
}

TEST_CASE("a max-pool refuses impossible windows and images", "[kernels]") {
  const auto forward = [](const MaxPoolShape& shape) {
    kernels::max_pool_forward<float>(shape, nullptr, nullptr, nullptr, main_stream());
  };
  CHECK_THROWS_WITH(
      forward({1, 8, 8, 4, {16, 1, 0}}),
      "[max_pool] expected a window of 1 to 15, a stride of at least 1 and padding up to half the window, "
      "got window 16, stride 1, padding 0");
  CHECK_THROWS_WITH(forward({1, 8, 8, 4, {3, 0, 1}}), ContainsSubstring("stride 0"));
  CHECK_THROWS_WITH(forward({1, 8, 8, 4, {3, 1, 2}}), ContainsSubstring("padding 2"));
  CHECK_THROWS_WITH(forward({1, 8, 2, 4, {5, 1, 1}}),
                    "[max_pool] expected images that hold a window of 5 with padding 1, got shape [1, 8, 2, 4]");
  CHECK_THROWS_WITH(forward({1, 8, 8, 0}), ContainsSubstring("got shape [1, 8, 8, 0]"));
  CHECK_THROWS_AS(kernels::max_pool_backward<float>({1, 8, 8, 0}, nullptr, nullptr, nullptr, false, main_stream()),
                  Error);
}

}  // namespace
}  // namespace omniconv::test
