#include "kernels/dropout.h"

#include <cmath>

#include "kernels/philox.h"
#include "tests/device_array.h"
#include "tests/gradient_check.h"
#include "tests/settings.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

struct Draw {
  double probability;
  std::uint64_t seed;
  DeviceArray<std::int64_t> step;

  Draw(double chance, std::uint64_t of_seed, std::int64_t of_step)
      : probability(chance), seed(of_seed), step(std::vector{of_step}) {}
  operator kernels::DropoutDraw() const { return {probability, seed, step}; }  // NOLINT: what the kernel takes
};

template <class T>
std::vector<T> dropped(const Draw& draw, const std::vector<T>& input) {
  const DeviceArray<T> device_input(input), output(static_cast<std::int64_t>(input.size()));
  kernels::dropout<T>(draw, device_input, output, static_cast<std::int64_t>(input.size()), false, main_stream());
  return output.to_host();
}

TEMPLATE_TEST_CASE("dropout equals the plain loop", KERNEL_TAGS, float, double) {
  using T = TestType;
  const double probability = GENERATE(0.0, 0.1, 0.5);
  const bool accumulate = GENERATE(false, true);
  const std::int64_t count = 1000;
  const auto input = uniform_values<T>(count, 1), before = uniform_values<T>(count, 2);
  const DeviceArray<T> device_input(input), output(before);
  kernels::dropout<T>(Draw(probability, 7, 12), device_input, output, count, accumulate, main_stream());
  const Philox random(7, (std::uint64_t{4} << 48) + 12);
  std::vector<double> expected;
  for (std::size_t i = 0; i < input.size(); ++i)
    expected.push_back((random.uniform(i) < probability ? 0 : input[i] / (1 - probability)) +
                       (accumulate ? before[i] : 0));
  require_close(output.to_host(), expected, Tolerance::rounding<T>());
}

TEST_CASE("dropout drops its share and keeps the mean", KERNEL_TAGS) {
  const std::vector<double> ones(100'000, 1);
  const auto output = dropped(Draw(0.1, 3, 0), ones);
  const auto zeros = static_cast<double>(std::count(output.begin(), output.end(), 0.0));
  // Six standard deviations of a binomial draw.
  CHECK(std::abs(zeros - 10'000) < 6 * std::sqrt(100'000 * 0.1 * 0.9));
  for (const double value : output) CHECK((value == 0 || value == 1 / 0.9));
}

TEST_CASE("dropout depends on seed, step and index, and on no number of threads", KERNEL_TAGS) {
  const std::vector<double> ones(100'000, 1);
  const auto output = dropped(Draw(0.5, 3, 5), ones);
  CHECK(dropped(Draw(0.5, 3, 6), ones) != output);
  CHECK(dropped(Draw(0.5, 4, 5), ones) != output);
  const WithThreads one(1);
  CHECK(dropped(Draw(0.5, 3, 5), ones) == output);
}

TEST_CASE("the gradient of dropout is dropout of the gradient", KERNEL_TAGS) {
  const Draw draw(0.4, 3, 2);
  check_gradient(
      "dropout", [&](const Vector& input) { return dropped(draw, input); },
      [&](const Vector&, const Vector& cotangent) { return dropped(draw, cotangent); }, uniform_values(40, 1));
}

TEST_CASE("dropout refuses what is no probability of dropping", "[kernels]") {
  CHECK_THROWS_WITH(kernels::dropout<float>({1, 0, nullptr}, nullptr, nullptr, 0, false, main_stream()),
                    "[dropout] expected a probability in [0, 1), got 1");
  CHECK_THROWS_AS(kernels::dropout<float>({-0.1, 0, nullptr}, nullptr, nullptr, 0, false, main_stream()), Error);
  CHECK_THROWS_AS(kernels::dropout<float>({std::nan(""), 0, nullptr}, nullptr, nullptr, 0, false, main_stream()),
                  Error);
}

}  // namespace
}  // namespace omniconv::test
