#include "kernels/temperature.h"

#include <cmath>

#include "tests/device_array.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

using kernels::GuardState;
using kernels::TemperaturePath;
using kernels::TemperatureShape;

/// The temperatures of the steps that follow each of these losses.
template <class T>
std::vector<double> temperatures(const std::vector<double>& losses, const TemperaturePath& path,
                                 GuardState* last = nullptr) {
  const DeviceArray<GuardState> state(1);
  const DeviceArray<double> temperature(1, path.start);
  std::vector<double> result;
  for (const double loss : losses) {
    kernels::guard_temperature<T>(DeviceArray<T>(1, static_cast<T>(loss)), path, state, temperature, main_stream());
    result.push_back(temperature.to_host()[0]);
  }
  if (last != nullptr) *last = state.to_host()[0];
  return result;
}

TEMPLATE_TEST_CASE("while the loss falls, the guard follows the path", KERNEL_TAGS, float, double) {
  const TemperaturePath path{30, 1, 40, TemperatureShape::harmonic};
  std::vector<double> losses;
  for (int i = 0; i < 50; ++i) losses.push_back(3.0 / (1 + 0.1 * i));
  GuardState state;
  const auto found = temperatures<TestType>(losses, path, &state);
  std::vector<double> expected;
  for (std::size_t i = 0; i < found.size(); ++i) expected.push_back(temperature_on(path, static_cast<double>(i + 1)));
  // On the CPU it is the same code; a GPU's compiler fuses products and sums.
  require_close(found, expected, OMNICONV_CUDA ? Tolerance::rounding<double>() : Tolerance{0, 0}, "temperatures");
  CHECK(state.position == 50);
  CHECK(state.last == 1);
}

TEMPLATE_TEST_CASE("while the loss jumps, the temperature stands, and goes on afterwards", KERNEL_TAGS, float, double) {
  const TemperaturePath path{30, 1, 1000, TemperatureShape::linear};
  std::vector<double> losses(100, 1.0);
  losses.insert(losses.end(), 10, 3.0);
  losses.insert(losses.end(), 200, 1.0);
  const auto found = temperatures<TestType>(losses, path);
  // The plain rule, on the host.
  double fast = 0, slow = 0, position = 0;
  int held = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const double steps = static_cast<double>(i + 1);
    fast += (losses[i] - fast) / std::min(steps, 16.0);
    slow += (losses[i] - slow) / std::min(steps, 128.0);
    const bool holds = fast > 1.05 * slow;
    held += holds;
    position += holds ? 0 : 1;
    REQUIRE(found[i] == Approx(temperature_on(path, position)).epsilon(1e-9));
  }
  CHECK(held >= 10);
  CHECK(held < 60);
  CHECK(found[105] == found[99]);
  CHECK(found.back() < found[99]);
}

TEST_CASE("a loss that is no number leaves the guard as it is", KERNEL_TAGS) {
  GuardState before, after;
  const TemperaturePath path{4, 2, 10, TemperatureShape::cosine};
  const auto a = temperatures<float>({2, 1}, path, &before),
             b = temperatures<float>({2, 1, NAN, INFINITY}, path, &after);
  CHECK(b.back() == a.back());
  CHECK(before.position == after.position);
  CHECK(before.steps == after.steps);
}

}  // namespace
}  // namespace omniconv::test
