#include "kernels/attention.h"

#include "tests/device_array.h"
#include "tests/gradient_check.h"
#include "tests/reference.h"

namespace omniconv::test {
namespace {

using reference::doubles;

template <class T>
std::vector<T> sigmoid(const std::vector<T>& logits, double temperature) {
  const auto count = static_cast<std::int64_t>(logits.size());
  const DeviceArray<T> device_logits(logits), attention(count);
  const DeviceArray<double> device_temperature(1, temperature);
  kernels::sigmoid_attention_forward<T>(device_logits, device_temperature, attention, count, main_stream());
  return attention.to_host();
}

template <class T>
std::vector<T> softmax(const std::vector<T>& logits, std::int64_t kernel_count, double temperature) {
  const auto count = static_cast<std::int64_t>(logits.size());
  const DeviceArray<T> device_logits(logits), attention(count);
  const DeviceArray<double> device_temperature(1, temperature);
  kernels::softmax_attention_forward<T>(device_logits, device_temperature, attention, count / kernel_count,
                                        kernel_count, main_stream());
  return attention.to_host();
}

/// d_logits (+)= the gradient of one sigmoid head.
template <class T>
void sigmoid_backward(const DeviceArray<T>& logits, const DeviceArray<double>& temperature,
                      const DeviceArray<T>& weighted, const DeviceArray<T>& d_logits, std::int64_t count,
                      bool accumulate) {
  kernels::attention_backward<T>({}, {count, logits, weighted, d_logits, accumulate}, {}, {}, temperature, 1,
                                 main_stream());
}

TEMPLATE_TEST_CASE("sigmoid attention and its gradient equal their formulas", KERNEL_TAGS, float, double) {
  using T = TestType;
  const std::int64_t count = GENERATE(1, 10, 4099);
  const double temperature = GENERATE(1.0, 30.0, 0.01);
  const bool accumulate = GENERATE(false, true);
  CAPTURE(count, temperature, accumulate);
  const auto logits = uniform_values<T>(count, 1, 3), weighted = uniform_values<T>(count, 2);
  const auto before = uniform_values<T>(count, 3);
  const DeviceArray<T> device_logits(logits), device_weighted(weighted), d_logits(before);
  const DeviceArray<double> device_temperature(1, temperature);
  sigmoid_backward(device_logits, device_temperature, device_weighted, d_logits, count, accumulate);
  Vector expected, expected_gradient;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    expected.push_back(1 / (1 + std::exp(-double{logits[i]} / temperature)));
    const double one_minus = 1 / (1 + std::exp(double{logits[i]} / temperature));
    expected_gradient.push_back(one_minus * weighted[i] / temperature + (accumulate ? before[i] : 0));
  }
  // exp() of z/T: relative to it, its rounding is |z/T| times that of a sum.
  const auto table = Tolerance::rounding<T>();
  const double largest = std::max(1.0, 3 / temperature);
  const Tolerance tolerance{table.atol, table.rtol * largest};
  require_close(sigmoid(logits, temperature), expected, tolerance);
  require_close(d_logits.to_host(), expected_gradient, {table.atol * std::max(1.0, 1 / temperature), tolerance.rtol});
}

TEMPLATE_TEST_CASE("sigmoid attention saturates without overflow", KERNEL_TAGS, float, double) {
  using T = TestType;
  const std::vector<T> logits = {T(-1e30), T(-1e4), T(-90), T(90), T(1e4), T(1e30)};
  const auto attention = sigmoid(logits, 1.0);
  CHECK(attention[0] == 0);
  CHECK(attention[1] == 0);
  CHECK(attention[2] > 0);
  require_close(std::vector<T>(attention.begin() + 3, attention.end()), Vector(3, 1.0), Tolerance::rounding<T>());

  // 1 - a, where a rounds to 1, has all its digits.
  const DeviceArray<T> device_logits(std::vector<T>{T(30), T(1e30)}), weighted(2, T(1)), d_logits(2);
  const DeviceArray<double> temperature(1, 1.0);
  sigmoid_backward(device_logits, temperature, weighted, d_logits, 2, false);
  const auto gradient = d_logits.to_host();
  require_close(std::vector<T>{gradient[0]}, Vector{std::exp(-30.0)}, {0, 1e-5});
  CHECK(gradient[1] == 0);
}

TEMPLATE_TEST_CASE("softmax attention equals its formula", KERNEL_TAGS, float, double) {
  using T = TestType;
  const std::int64_t kernel_count = GENERATE(1, 2, 4, 16), samples = GENERATE(1, 7, 128);
  const double temperature = GENERATE(1.0, 30.0);
  CAPTURE(kernel_count, samples, temperature);
  const auto logits = uniform_values<T>(samples * kernel_count, 1, 5);
  require_close(softmax(logits, kernel_count, temperature),
                reference::softmax(doubles(logits), kernel_count, temperature), Tolerance::rounding<T>());
}

TEMPLATE_TEST_CASE("softmax attention is stable for any finite logits", KERNEL_TAGS, float, double) {
  using T = TestType;
  const T huge = T(1e38);
  CHECK(softmax<T>({huge, -huge, huge, 0}, 4, 1.0) == std::vector<T>{T(0.5), 0, T(0.5), 0});
  CHECK(softmax<T>({-huge, -huge}, 2, 0.001) == std::vector<T>{T(0.5), T(0.5)});
  CHECK(softmax<T>({1000, 999}, 2, 1e-3) == std::vector<T>{1, 0});
}

TEMPLATE_TEST_CASE("the gradients of all heads equal plain loops", KERNEL_TAGS, float, double) {
  using T = TestType;
  const std::int64_t samples = GENERATE(1, 5, 128), kernel_count = GENERATE(0, 1, 4, 16), filters = GENERATE(0, 6);
  const std::int64_t widths[] = {7, filters, 9, kernel_count};
  const double temperature = 3;
  const bool accumulate = GENERATE(false, true);
  const std::int64_t parts = GENERATE(1, 3);
  CAPTURE(samples, kernel_count, filters, accumulate, parts);
  const DeviceArray<double> device_temperature(1, temperature);
  std::vector<DeviceArray<T>> activations, weighted, d_logits;
  std::vector<Vector> expected;
  for (int h = 0; h < 4; ++h) {
    const std::int64_t width = widths[h], count = samples * width;
    const auto logits = uniform_values<T>(count, 10 * h, 2), products = uniform_values<T>(count * parts, 10 * h + 1),
               before = uniform_values<T>(count, 10 * h + 2);
    const auto attention = h == 3 && width > 0 ? softmax(logits, width, temperature) : logits;
    activations.emplace_back(attention);
    weighted.emplace_back(products);
    // Parts lie in front of the width of a sigmoid head, behind that of the kernel head.
    const Vector product = h == 3 ? reference::column_sums(doubles(products), count, parts, 1)
                                  : reference::column_sums(doubles(products), samples, parts, width);
    d_logits.emplace_back(before);
    Vector& gradient = expected.emplace_back(before.size());
    for (std::int64_t n = 0; n < samples; ++n) {
      double sum = 0;
      for (std::int64_t j = 0; j < width; ++j) sum += product[n * width + j];
      for (std::int64_t j = 0; j < width; ++j) {
        const std::int64_t i = n * width + j;
        const double d =
            h == 3 ? product[i] - attention[i] * sum : product[i] / (1 + std::exp(double{attention[i]} / temperature));
        gradient[i] = d / temperature + (accumulate ? before[i] : 0);
      }
    }
  }
  const auto head = [&](int h) {
    return kernels::LogitsGradient<T>{widths[h], activations[h], weighted[h], d_logits[h], accumulate, parts};
  };
  kernels::attention_backward<T>(head(0), head(1), head(2), head(3), device_temperature, samples, main_stream());
  for (int h = 0; h < 4; ++h)
    require_close(d_logits[h].to_host(), expected[h], Tolerance::rounding<T>(), concat("d_logits of head ", h));
}

TEST_CASE("gradients of the attentions equal central differences", KERNEL_TAGS) {
  const double temperature = GENERATE(1.0, 4.0);
  const DeviceArray<double> device_temperature(1, temperature);
  const std::int64_t samples = 2, kernel_count = 3;
  const auto logits = uniform_values(samples * kernel_count, 1, 2);
  // The kernels take attention times gradient, which never divides by the attention.
  const auto weighted = [](Vector attention, const Vector& cotangent) {
    for (std::size_t i = 0; i < attention.size(); ++i) attention[i] *= cotangent[i];
    return attention;
  };
  check_gradient(
      "sigmoid attention", [&](const Vector& z) { return sigmoid(z, temperature); },
      [&](const Vector& z, const Vector& cotangent) {
        const DeviceArray<double> device_logits(z), device_weighted(weighted(sigmoid(z, temperature), cotangent)),
            d_logits(6);
        sigmoid_backward(device_logits, device_temperature, device_weighted, d_logits, 6, false);
        return d_logits.to_host();
      },
      logits);
  check_gradient(
      "softmax attention", [&](const Vector& z) { return softmax(z, kernel_count, temperature); },
      [&](const Vector& z, const Vector& cotangent) {
        const auto attention = softmax(z, kernel_count, temperature);
        const DeviceArray<double> device_attention(attention), device_weighted(weighted(attention, cotangent)),
            d_logits(6);
        kernels::attention_backward<double>({}, {}, {},
                                            {kernel_count, device_attention, device_weighted, d_logits, false},
                                            device_temperature, samples, main_stream());
        return d_logits.to_host();
      },
      logits);
}

TEST_CASE("attention refuses what makes no sense", "[kernels]") {
  CHECK_THROWS_WITH(kernels::softmax_attention_forward<float>(nullptr, nullptr, nullptr, 2, 0, main_stream()),
                    "[attention] expected at least 1 kernel, got 0");
}

}  // namespace
}  // namespace omniconv::test
