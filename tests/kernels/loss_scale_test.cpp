#include "kernels/loss_scale.h"

#include <array>
#include <limits>

#include "kernels/simt/launch.h"
#include "tests/device_array.h"
#include "tests/random.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

using kernels::LossScaleSettings;
using kernels::LossScaleState;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Scale and state on the device.
struct Scaling {
  LossScaleSettings settings;
  DeviceArray<float> scale;
  DeviceArray<LossScaleState> state{1};
  DeviceArray<std::int32_t> skip{1, 7};

  explicit Scaling(const LossScaleSettings& of_settings)
      : settings(of_settings), scale(1, static_cast<float>(of_settings.initial)) {}

  /// Unscales `gradients` and returns them.
  std::vector<float> unscale(const std::vector<float>& gradients) const {
    const auto count = static_cast<std::int64_t>(gradients.size());
    const DeviceArray<float> on_device(gradients);
    const DeviceArray<std::int32_t> workspace(kernels::unscale_workspace(count), 9);
    kernels::unscale_gradients(on_device, count, settings, scale, state, skip, workspace, main_stream());
    return on_device.to_host();
  }
  float scale_now() const { return scale.to_host()[0]; }
  bool skips() const { return skip.to_host()[0] != 0; }
  LossScaleState state_now() const { return state.to_host()[0]; }
};

TEST_CASE("gradients are divided by the loss scale", KERNEL_TAGS) {
  const std::int64_t count = GENERATE(1, 31, 16384, 50001);
  const Scaling scaling({.initial = 1024});
  const auto gradients = uniform_values<float>(count, 1);
  std::vector<float> expected;
  for (const float gradient : gradients) expected.push_back(gradient / 1024);  // exact: a power of two
  CHECK(scaling.unscale(gradients) == expected);
  CHECK_FALSE(scaling.skips());
  CHECK(scaling.state_now().good_steps == 1);
}

TEST_CASE("an overflow anywhere skips the step and halves the scale", KERNEL_TAGS) {
  const std::int64_t count = 40001;
  const auto at = static_cast<std::size_t>(GENERATE(0, 16383, 16384, 40000));
  const float bad = std::array{infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}[at % 3];
  CAPTURE(bad, at);
  simt::set_thread_order_seed(GENERATE(1, 2, 3));
  const Scaling scaling({.initial = 8});
  auto gradients = uniform_values<float>(count, 1);
  scaling.unscale(gradients);
  gradients[at] = bad;
  scaling.unscale(gradients);
  simt::set_thread_order_seed({});
  CHECK(scaling.skips());
  CHECK(scaling.scale_now() == 4);
  CHECK(scaling.state_now().good_steps == 0);
  CHECK(scaling.state_now().skipped_steps == 1);
  gradients[at] = 1;
  CHECK(scaling.unscale(gradients)[at] == 0.25f);
  CHECK_FALSE(scaling.skips());
  CHECK(scaling.state_now().skipped_steps == 1);
}

TEST_CASE("the scale grows after so many good steps in a row, and stays finite", KERNEL_TAGS) {
  const Scaling scaling({.initial = 2, .growth = 4, .growth_interval = 3});
  const std::vector<float> good(5, 1.0f), bad(5, infinity);
  std::vector<float> scales;
  for (const bool overflow : {false, false, true, false, false, false, false}) {
    scaling.unscale(overflow ? bad : good);
    scales.push_back(scaling.scale_now());
  }
  CHECK(scales == std::vector<float>{2, 2, 1, 1, 1, 4, 4});

  const Scaling largest({.initial = 0x1p127, .growth_interval = 1});
  largest.unscale(good);
  CHECK(largest.scale_now() == 0x1p127f);
}

}  // namespace
}  // namespace omniconv::test
