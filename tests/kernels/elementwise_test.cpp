#include "kernels/elementwise.h"

#include <limits>

#include "kernels/half.h"
#include "tests/device_array.h"
#include "tests/random.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

TEMPLATE_TEST_CASE("values are rounded to 16 bits and come back", KERNEL_TAGS, bf16, f16) {
  using T = TestType;
  const std::int64_t count = GENERATE(1, 37, 70001);
  auto values = uniform_values<float>(count, 1, 100);
  values[0] = std::numeric_limits<float>::infinity();
  const DeviceArray<float> source(values), back(count, 0.5f);
  const DeviceArray<T> rounded(count);
  kernels::convert<float, T>(source, rounded, count, false, main_stream());
  std::vector<std::uint16_t> bits, expected_bits;
  for (const T value : rounded.to_host()) bits.push_back(value.bits);
  for (const float value : values) expected_bits.push_back(T(value).bits);
  CHECK(bits == expected_bits);

  const bool accumulate = GENERATE(false, true);
  kernels::convert<T, float>(rounded, back, count, accumulate, main_stream());
  std::vector<float> expected;
  for (const float value : values) expected.push_back(static_cast<float>(T(value)) + (accumulate ? 0.5f : 0.0f));
  CHECK(back.to_host() == expected);
}

TEMPLATE_TEST_CASE("arrays are added element by element", KERNEL_TAGS, float, double, bf16, f16) {
  using T = TestType;
  const std::int64_t count = GENERATE(1, 33, 40000);
  const auto a = uniform_values<T>(count, 1), b = uniform_values<T>(count, 2);
  const DeviceArray<T> source(a), target(b);
  kernels::add<T>(source, target, count, main_stream());
  std::vector<double> expected;
  for (std::size_t i = 0; i < a.size(); ++i) expected.push_back(static_cast<double>(a[i]) + static_cast<double>(b[i]));
  require_close(target.to_host(), expected, Tolerance::rounding<T>());
}

TEMPLATE_TEST_CASE("bias, residual and relu, and the mask of its gradient", KERNEL_TAGS, float, double, bf16, f16) {
  using T = TestType;
  using Value = compute_type_t<T>;
  const std::int64_t rows = GENERATE(1, 40), columns = GENERATE(1, 24);
  const bool relu = GENERATE(false, true), add = GENERATE(false, true);
  const auto input = uniform_values<T>(rows * columns, 1), residual = uniform_values<T>(rows * columns, 2);
  const auto bias = uniform_values<Value>(columns, 3);
  const DeviceArray<T> device_input(input), device_residual(residual), output(rows * columns), masked(rows * columns);
  const DeviceArray<Value> device_bias(bias);
  kernels::apply_affine<T>(device_input, nullptr, device_bias, add ? device_residual.data() : nullptr, relu, output,
                           rows, columns, main_stream());
  kernels::mask_negative<T>(device_input, device_residual, masked, rows * columns, main_stream());
  std::vector<double> expected, expected_mask;
  for (std::size_t i = 0; i < input.size(); ++i) {
    const double sum = static_cast<double>(input[i]) + bias[i % static_cast<std::size_t>(columns)] +
                       (add ? static_cast<double>(residual[i]) : 0);
    expected.push_back(relu && sum < 0 ? 0 : sum);
    expected_mask.push_back(input[i] > 0 ? static_cast<double>(residual[i]) : 0);
  }
  require_close(output.to_host(), expected, Tolerance::rounding<T>());
  require_close(masked.to_host(), expected_mask, {0, 0});
}

}  // namespace
}  // namespace omniconv::test
