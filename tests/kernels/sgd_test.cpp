#include "kernels/sgd.h"

#include "tests/device_array.h"
#include "tests/random.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

using kernels::SgdSettings;

TEMPLATE_TEST_CASE("SGD takes the steps of its formula", KERNEL_TAGS, float, double) {
  using T = TestType;
  const std::int64_t count = GENERATE(1, 17, 40001);
  const bool nesterov = GENERATE(false, true);
  const SgdSettings settings{GENERATE(0.0, 0.9), GENERATE(0.0, 5e-2), nesterov};
  CAPTURE(count, settings.momentum, settings.weight_decay, nesterov);
  const auto initial = uniform_values<T>(count, 1);
  const DeviceArray<T> weight(initial), velocity(count);
  const DeviceArray<double> learning_rate(1, 0.1);
  std::vector<double> expected(initial.begin(), initial.end()), expected_velocity(initial.size());
  for (std::uint64_t step = 0; step < 3; ++step) {
    const auto gradient = uniform_values<T>(count, 10 + step);
    const DeviceArray<T> device_gradient(gradient);
    kernels::sgd_step<T>(weight, device_gradient, velocity, count, learning_rate, nullptr, settings, main_stream());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double g = gradient[i] + settings.weight_decay * expected[i];
      double& v = expected_velocity[i];
      v = settings.momentum * v + g;
      expected[i] -= 0.1 * (nesterov ? g + settings.momentum * v : v);
    }
  }
  require_close(weight.to_host(), expected, Tolerance::rounding<T>(), "weight");
  require_close(velocity.to_host(), expected_velocity, Tolerance::rounding<T>(), "velocity");
}

TEST_CASE("SGD repeats PyTorch's numbers", KERNEL_TAGS) {
  // torch.optim.SGD([w], lr=0.5, momentum=0.9, weight_decay=0.1, nesterov=True) on w = [1, -2], gradients
  // [0.3, 0.4] and [-0.2, 0.1].
  const DeviceArray<double> weight(std::vector<double>{1, -2}), velocity(2), learning_rate(1, 0.5);
  const SgdSettings settings{0.9, 0.1, true};
  for (const auto& gradient : {std::vector<double>{0.3, 0.4}, {-0.2, 0.1}})
    kernels::sgd_step<double>(weight, DeviceArray<double>(gradient), velocity, 2, learning_rate, nullptr, settings,
                              main_stream());
  require_close(weight.to_host(), std::vector<double>{0.5891, -2.15795}, Tolerance::rounding<double>());
}

TEST_CASE("a step that is to be skipped leaves weights and velocity alone", KERNEL_TAGS) {
  const std::vector<float> weights = {1, -2}, velocities = {0.5f, 0.25f};
  const DeviceArray<float> weight(weights), velocity(velocities), gradient(2, 3.0f);
  const DeviceArray<double> learning_rate(1, 0.5);
  const DeviceArray<std::int32_t> skip(1, 1), go(1, 0);
  const SgdSettings settings{0.9, 0.1, true};
  kernels::sgd_step<float>(weight, gradient, velocity, 2, learning_rate, skip, settings, main_stream());
  CHECK(weight.to_host() == weights);
  CHECK(velocity.to_host() == velocities);
  kernels::sgd_step<float>(weight, gradient, velocity, 2, learning_rate, go, settings, main_stream());
  CHECK(weight.to_host() != weights);
  CHECK(velocity.to_host() != velocities);
}

}  // namespace
}  // namespace omniconv::test
