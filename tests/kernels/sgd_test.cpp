#include "kernels/sgd.h"

#include <cmath>
#include <iterator>

#include "tests/device_array.h"
#include "tests/random.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

using kernels::SgdGroup;
using kernels::SgdInputs;
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
    kernels::sgd_step<T>(weight, device_gradient, velocity, count, {learning_rate}, settings, main_stream());
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
    kernels::sgd_step<double>(weight, DeviceArray<double>(gradient), velocity, 2, {learning_rate}, settings,
                              main_stream());
  require_close(weight.to_host(), std::vector<double>{0.5891, -2.15795}, Tolerance::rounding<double>());
}

TEST_CASE("a step that is to be skipped leaves weights and velocity alone", KERNEL_TAGS) {
  const std::vector<float> weights = {1, -2}, velocities = {0.5f, 0.25f};
  const DeviceArray<float> weight(weights), velocity(velocities), gradient(2, 3.0f);
  const DeviceArray<double> learning_rate(1, 0.5);
  const DeviceArray<std::int32_t> skip(1, 1), go(1, 0);
  const SgdSettings settings{0.9, 0.1, true};
  SgdInputs inputs{.learning_rate = learning_rate, .skip = skip};
  kernels::sgd_step<float>(weight, gradient, velocity, 2, inputs, settings, main_stream());
  CHECK(weight.to_host() == weights);
  CHECK(velocity.to_host() == velocities);
  inputs.skip = go;
  kernels::sgd_step<float>(weight, gradient, velocity, 2, inputs, settings, main_stream());
  CHECK(weight.to_host() != weights);
  CHECK(velocity.to_host() != velocities);
}

TEMPLATE_TEST_CASE("SGD scales gradients, and gives each group its decay or leaves it alone", KERNEL_TAGS, float,
                   double) {
  using T = TestType;
  const std::int64_t count = 40001;
  const bool grouped = GENERATE(false, true), nesterov = GENERATE(false, true);
  const SgdSettings settings{0.9, 5e-2, nesterov};
  const auto initial = uniform_values<T>(count, 1), gradient = uniform_values<T>(count, 2);
  const auto first_velocity = uniform_values<T>(count, 3);
  const SgdGroup table[] = {{0.2, 1}, {0, 1}, {0.2, 0}};
  std::vector<std::uint8_t> numbers;
  for (std::int64_t i = 0; i < count; ++i) numbers.push_back(static_cast<std::uint8_t>(i % 3));
  const DeviceArray<T> weight(initial), velocity(first_velocity), device_gradient(gradient);
  const DeviceArray<double> learning_rate(1, 0.1), scale(1, 0.3);
  const DeviceArray<std::uint8_t> group_of(numbers);
  const DeviceArray<SgdGroup> groups(std::vector<SgdGroup>(std::begin(table), std::end(table)));
  SgdInputs inputs{.learning_rate = learning_rate, .gradient_scale = scale};
  if (grouped) {
    inputs.group_of = group_of;
    inputs.groups = groups;
  }
  kernels::sgd_step<T>(weight, device_gradient, velocity, count, inputs, settings, main_stream());
  std::vector<double> expected(initial.begin(), initial.end()), expected_velocity(initial.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const SgdGroup group = grouped ? table[i % 3] : SgdGroup{settings.weight_decay, 1};
    if (group.trained == 0) continue;
    const double g = 0.3 * gradient[i] + group.weight_decay * expected[i];
    expected_velocity[i] = 0.9 * first_velocity[i] + g;
    expected[i] -= 0.1 * (nesterov ? g + 0.9 * expected_velocity[i] : expected_velocity[i]);
  }
  require_close(weight.to_host(), expected, Tolerance::rounding<T>(), "weight");
  require_close(velocity.to_host(), expected_velocity, Tolerance::rounding<T>(), "velocity");
}

TEMPLATE_TEST_CASE("once a loss was not finite, steps change nothing", KERNEL_TAGS, float, double) {
  using T = TestType;
  const bool grouped = GENERATE(false, true);
  const auto initial = uniform_values<T>(9, 1);
  const DeviceArray<T> weight(initial), velocity(9), gradient(uniform_values<T>(9, 2));
  const DeviceArray<double> learning_rate(1, 0.1);
  const DeviceArray<std::int32_t> halted(1, 0);
  const DeviceArray<std::uint8_t> group_of(9);
  const DeviceArray<SgdGroup> groups(1);
  SgdInputs inputs{.learning_rate = learning_rate, .halted = halted};
  if (grouped) {
    inputs.group_of = group_of;
    inputs.groups = groups;
  }
  for (const T loss : {T(1), T(NAN), T(2)}) {
    const auto before = weight.to_host();
    kernels::halt_unless_finite<T>(DeviceArray<T>(1, loss), halted, main_stream());
    kernels::sgd_step<T>(weight, gradient, velocity, 9, inputs, {}, main_stream());
    CHECK((weight.to_host() == before) == (loss != T(1)));
    CHECK(halted.to_host()[0] == (loss == T(1) ? 0 : 1));
  }
  kernels::halt_unless_finite<T>(DeviceArray<T>(1, T(INFINITY)), halted, main_stream());
  CHECK(halted.to_host()[0] == 1);
}

TEMPLATE_TEST_CASE("gradients are scaled down to a norm, those that are trained", KERNEL_TAGS, float, double) {
  using T = TestType;
  const std::int64_t count = GENERATE(1, 1000, 40001);
  const bool grouped = GENERATE(false, true);
  const auto gradient = uniform_values<T>(count, 4, 0.1);
  const SgdGroup table[] = {{0, 1}, {0, 0}};
  std::vector<std::uint8_t> numbers;
  double squares = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    numbers.push_back(static_cast<std::uint8_t>(i % 5 == 3));
    if (!grouped || numbers.back() == 0) squares += static_cast<double>(gradient[i]) * gradient[i];
  }
  const DeviceArray<T> device_gradient(gradient);
  const DeviceArray<std::uint8_t> group_of(numbers);
  const DeviceArray<SgdGroup> groups(std::vector<SgdGroup>(std::begin(table), std::end(table)));
  const DeviceArray<double> scale(1), workspace(kernels::clip_workspace(count));
  const double norm = std::sqrt(squares);
  for (const double max_norm : {0.5 * norm, 2 * norm}) {
    kernels::clip_scale<T>(device_gradient, count, grouped ? group_of.data() : nullptr,
                           grouped ? groups.data() : nullptr, max_norm, scale, workspace, main_stream());
    CHECK(scale.to_host()[0] == Approx(std::min(1.0, max_norm / (norm + 1e-6))).epsilon(1e-12));
  }
}

}  // namespace
}  // namespace omniconv::test
