// Element-wise work against plain loops.
#include <atomic>

#include "tests/simt/device_memory.h"

namespace omniconv::simt::test {
namespace {

void check_index(std::int64_t n) {
  INFO("n " << n);
  const std::vector<float> x = random_values<float>(n, 1), y = random_values<float>(n, 2);
  DeviceArray<float> device_x(x), device_y(y);
  DeviceArray<std::int64_t> indices(n, -1);
  const float* in = device_x.data();
  float* out = device_y.data();
  std::int64_t* index = indices.data();
  for_each_index(n, test_stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    out[i] += 2 * in[i];
    index[i] = i;
  });
  std::vector<float> expected = y;
  std::vector<std::int64_t> expected_indices(n);
  for (std::int64_t i = 0; i < n; ++i) {
    expected[i] += 2 * x[i];
    expected_indices[i] = i;
  }
  CHECK(device_y.values() == expected);
  CHECK(indices.values() == expected_indices);
}

void check_element(std::int64_t rows, std::int64_t columns) {
  INFO(rows << " x " << columns);
  const auto n = static_cast<std::size_t>(rows * columns);
  DeviceArray<std::int64_t> visits(n, 0);
  std::int64_t* out = visits.data();
  for_each_element(rows, columns, test_stream, [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t column) {
    out[row * columns + column] += 10 * row + column;
  });
  std::vector<std::int64_t> expected(n);
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t column = 0; column < columns; ++column) expected[row * columns + column] = 10 * row + column;
  CHECK(visits.values() == expected);
}

// In functions of their own: nvcc takes no extended lambda from inside a TEST_CASE's static function.
TEST_CASE("for_each_index equals a loop", ON_DEVICE) {
  for (std::int64_t n : {0, 1, 7, 255, 256, 1001, 32767, 32768, 100'003, 1'000'001}) check_index(n);
}

TEST_CASE("for_each_element equals a loop", ON_DEVICE) {
  for (const auto& [rows, columns] : {std::pair{0, 5},
                                      {5, 0},
                                      {0, 0},
                                      {1, 1},
                                      {3, 7},
                                      {1, 70'001},
                                      {70'001, 1},
                                      {257, 129},
                                      {66'000, 3},
                                      {5, 31'013},
                                      {1000, 1000}})
    check_element(rows, columns);
}

#if !OMNICONV_CUDA

TEST_CASE("an exception in a functor comes out of for_each_index", "[simt]") {
  for (std::int64_t n : {10, 100'000}) {
    const auto failing = [=](std::int64_t i) {
      if (i >= n / 2) fail("functor", "index ", i);
    };
    CHECK_THROWS_AS(for_each_index(n, test_stream, failing), Error);
  }
}

#endif

}  // namespace
}  // namespace omniconv::simt::test
