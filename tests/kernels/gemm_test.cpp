#include "kernels/gemm.h"

#include "tests/device_array.h"
#include "tests/gradient_check.h"
#include "tests/reference.h"
#include "tests/settings.h"

namespace omniconv::test {
namespace {

using kernels::GemmShape;
using reference::doubles;

GemmShape dense(std::int64_t batch, std::int64_t rows, std::int64_t columns, std::int64_t inner, bool transpose_a,
                bool transpose_b) {
  return {batch, rows, columns, inner, transpose_a, transpose_b, rows * inner, inner * columns, rows * columns};
}

TEMPLATE_TEST_CASE("a product equals the plain loop", KERNEL_TAGS, float, double) {
  using T = TestType;
  const std::int64_t batch = GENERATE(1, 3);
  const auto [rows, columns, inner] = GENERATE(table<std::int64_t, std::int64_t, std::int64_t>(
      {{1, 1, 1}, {2, 3, 4}, {7, 10, 5}, {16, 16, 16}, {65, 17, 33}, {128, 16, 64}, {16, 64, 128}, {13, 130, 150},
       {64, 64, 257}, {3, 1, 300}, {129, 65, 1}}));
  const bool transpose_a = GENERATE(false, true), transpose_b = GENERATE(false, true);
  const bool accumulate = GENERATE(false, true);
  CAPTURE(batch, rows, columns, inner, transpose_a, transpose_b, accumulate);
  const auto a = uniform_values<T>(batch * rows * inner, 1), b = uniform_values<T>(batch * inner * columns, 2);
  const auto before = uniform_values<T>(batch * rows * columns, 3);
  const DeviceArray<T> device_a(a), device_b(b), c(before);
  kernels::gemm<T>(dense(batch, rows, columns, inner, transpose_a, transpose_b), device_a, device_b, c, accumulate,
                   main_stream());
  auto expected =
      reference::gemm(batch, rows, columns, inner, transpose_a, transpose_b, doubles(a), doubles(b));
  if (accumulate)
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
  require_close(c.to_host(), expected, Tolerance::rounding<T>());
}

TEST_CASE("products of a batch lie where their strides say, and one operand may serve all", KERNEL_TAGS) {
  const auto a = uniform_values(2 * 3, 1), b = uniform_values(2 * 20, 2);
  const DeviceArray<double> device_a(a), device_b(b), c(2 * 10, -7.0);
  GemmShape shape = dense(2, 2, 4, 3, false, false);
  shape.stride_a = 0;
  shape.stride_b = 20;
  shape.stride_c = 10;
  kernels::gemm<double>(shape, device_a, device_b, c, false, main_stream());
  std::vector<double> expected(20, -7.0);
  for (int n : {0, 1}) {
    const auto product = reference::gemm(1, 2, 4, 3, false, false, a, {b.begin() + 20 * n, b.begin() + 20 * n + 12});
    std::copy(product.begin(), product.end(), expected.begin() + 10 * n);
  }
  require_close(c.to_host(), expected, Tolerance::rounding<double>());
}

TEMPLATE_TEST_CASE("an empty inner extent gives zeros or leaves what is there", KERNEL_TAGS, float, double) {
  const DeviceArray<TestType> nothing(0), c(6, 5);
  kernels::gemm<TestType>(dense(1, 2, 3, 0, false, false), nothing, nothing, c, true, main_stream());
  CHECK(c.to_host() == std::vector<TestType>(6, 5));
  kernels::gemm<TestType>(dense(1, 2, 3, 0, false, false), nothing, nothing, c, false, main_stream());
  CHECK(c.to_host() == std::vector<TestType>(6, 0));
}

TEST_CASE("a product does not depend on how its output is cut up", KERNEL_TAGS) {
  // The same row of A against the same B, alone and as one of many: sums run over inner in order.
  const std::int64_t inner = 300, columns = 40;
  const auto a = uniform_values<float>(100 * inner, 1), b = uniform_values<float>(inner * columns, 2);
  const DeviceArray<float> device_a(a), device_b(b), all(100 * columns), one(columns);
  kernels::gemm<float>(dense(1, 100, columns, inner, false, false), device_a, device_b, all, false, main_stream());
  kernels::gemm<float>(dense(1, 1, columns, inner, false, false), device_a + 77 * inner, device_b, one, false,
                       main_stream());
  const auto many = all.to_host();
  CHECK(one.to_host() == std::vector<float>(many.begin() + 77 * columns, many.begin() + 78 * columns));
}

TEST_CASE("a product does not depend on the number of threads", KERNEL_TAGS) {
  const std::int64_t rows = 300, columns = 200, inner = 190;
  const DeviceArray<float> a(uniform_values<float>(rows * inner, 1)), b(uniform_values<float>(inner * columns, 2));
  std::vector<std::vector<float>> results;
  for (int threads : {1, 2, 5}) {
    const WithThreads with(threads);
    const DeviceArray<float> c(rows * columns);
    kernels::gemm<float>(dense(1, rows, columns, inner, false, true), a, b, c, false, main_stream());
    results.push_back(c.to_host());
  }
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
}

TEST_CASE("a product refuses negative extents", "[kernels]") {
  CHECK_THROWS_WITH(
      kernels::gemm<float>({.rows = 2, .columns = -3, .inner = 4}, nullptr, nullptr, nullptr, false, main_stream()),
      "[gemm] expected no negative extent, got batch, rows, columns and inner [1, 2, -3, 4]");
}

TEMPLATE_TEST_CASE("a bias is added to every row", KERNEL_TAGS, float, double) {
  using T = TestType;
  const auto [rows, columns] = GENERATE(table<std::int64_t, std::int64_t>({{1, 1}, {5, 10}, {128, 64}}));
  const auto before = uniform_values<T>(rows * columns, 1), bias = uniform_values<T>(columns, 2);
  const DeviceArray<T> output(before), device_bias(bias);
  kernels::add_bias<T>(output, device_bias, rows, columns, main_stream());
  auto expected = before;
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += bias[i % static_cast<std::size_t>(columns)];
  CHECK(output.to_host() == expected);
}

TEMPLATE_TEST_CASE("column sums equal the plain loop", KERNEL_TAGS, float, double, bf16, f16) {
  using T = TestType;
  using Value = compute_type_t<T>;
  const auto [rows, columns] = GENERATE(table<std::int64_t, std::int64_t>(
      {{0, 3}, {1, 1}, {2, 10}, {128, 10}, {128, 64}, {1000, 24}, {300, 1}, {7, 1000}, {5000, 16}}));
  const bool accumulate = GENERATE(false, true);
  CAPTURE(rows, columns, accumulate);
  const auto input = uniform_values<T>(rows * columns, 1);
  const auto before = uniform_values<Value>(columns, 2);
  const DeviceArray<T> device_input(input);
  const DeviceArray<Value> sums(before);
  kernels::column_sums<T>(device_input, sums, rows, columns, accumulate, main_stream());
  auto expected = reference::column_sums(doubles(input), 1, rows, columns);
  if (accumulate)
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
  require_close(sums.to_host(), expected, Tolerance::rounding<Value>());
}

TEST_CASE("a sum of many f32 values keeps the accuracy of f32", KERNEL_TAGS) {
  // In one f32 accumulator a million times 0.1 is off by 1 %.
  const std::int64_t rows = 1'000'000;
  const DeviceArray<float> input(rows, 0.1f), sums(1);
  kernels::column_sums<float>(input, sums, rows, 1, false, main_stream());
  require_close(sums.to_host(), std::vector<double>{0.1f * 1e6}, {0, 5e-6});
}

}  // namespace
}  // namespace omniconv::test
