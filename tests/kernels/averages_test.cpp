#include "kernels/averages.h"

#include "tests/device_array.h"
#include "tests/random.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

TEMPLATE_TEST_CASE("scaled sums, exchanges and moving averages equal plain loops", KERNEL_TAGS, float, double) {
  using T = TestType;
  const std::int64_t count = GENERATE(1, 33, 40001);
  const auto a = uniform_values<T>(count, 1), b = uniform_values<T>(count, 2);
  std::vector<double> sum, average;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum.push_back(a[i] + 0.3 * b[i]);
    average.push_back(0.9 * a[i] + 0.1 * b[i]);
  }
  const DeviceArray<T> target(a), source(b), moved(a);
  const DeviceArray<double> decay(1, 0.9);
  kernels::add_scaled<T>(0.3, source, target, count, main_stream());
  require_close(target.to_host(), sum, Tolerance::rounding<T>(), "scaled sum");
  kernels::move_average<T>(moved, source, decay, count, main_stream());
  require_close(moved.to_host(), average, Tolerance::rounding<T>(), "average");

  const DeviceArray<T> left(a), right(b);
  kernels::exchange<T>(left, right, count, main_stream());
  CHECK(left.to_host() == b);
  CHECK(right.to_host() == a);
}

}  // namespace
}  // namespace omniconv::test
