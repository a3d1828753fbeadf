// The values of a step out of the table of its epoch.
#include "kernels/training_step.h"

#include <vector>

#include "tests/catch.h"
#include "tests/device_array.h"

namespace omniconv::test {
namespace {

using kernels::Mix;
using kernels::StepValues;

StepValues row(double number, std::int64_t first) {
  const auto whole = static_cast<std::int64_t>(number);
  return {number + 0.1, number + 0.2, number + 0.3,
          whole + 4,    whole + 5,    first,
          Mix{number + 0.6, number + 0.7, number + 0.8, number + 0.9, number + 1}};
}

TEST_CASE("a step repeated with equal arguments takes the values and images of its position", KERNEL_TAGS) {
  const std::vector<StepValues> rows = {row(10, 0), row(20, 3), row(30, 5)};
  const DeviceArray<StepValues> table(rows);
  const DeviceArray<std::int32_t> order({7, 3, 9, 1, 4, 0, 8}), images(2);
  const DeviceArray<std::int64_t> position(1), epoch(1), pass(1);
  const DeviceArray<double> learning_rate(1), temperature(1), decay(1), losses(3), loss(1);
  const DeviceArray<Mix> mix(1);
  const std::vector<std::vector<std::int32_t>> expected = {{7, 3}, {1, 4}, {0, 8}};
  for (std::size_t step = 0; step < rows.size(); ++step) {
    kernels::begin_step(table, position, order, 2, {learning_rate, temperature, decay, epoch, pass, mix, images},
                        main_stream());
    CHECK(images.to_host() == expected[step]);
    CHECK(learning_rate.to_host()[0] == rows[step].learning_rate);
    CHECK(temperature.to_host()[0] == rows[step].temperature);
    CHECK(decay.to_host()[0] == rows[step].average_decay);
    CHECK(epoch.to_host()[0] == rows[step].epoch);
    CHECK(pass.to_host()[0] == rows[step].pass);
    const Mix taken = mix.to_host()[0], own = rows[step].mix;
    CHECK(std::vector{taken.own_share, taken.top, taken.bottom, taken.left, taken.right} ==
          std::vector{own.own_share, own.top, own.bottom, own.left, own.right});
    const double value = 1.5 * static_cast<double>(step + 1);
    copy_to_device(loss, &value, sizeof(value));
    kernels::finish_step<double>(loss, losses, position, main_stream());
  }
  CHECK(losses.to_host() == std::vector<double>{1.5, 3, 4.5});
  CHECK(position.to_host()[0] == 3);
}

TEST_CASE("a step without targets takes its images alone", KERNEL_TAGS) {
  const DeviceArray<StepValues> table(1, row(1, 1));
  const DeviceArray<std::int32_t> order({2, 1, 0}), images(2);
  const DeviceArray<std::int64_t> position(1);
  kernels::begin_step(table, position, order, 2, {.images = images}, main_stream());
  CHECK(images.to_host() == std::vector<std::int32_t>{1, 0});
  CHECK_THROWS_WITH(kernels::begin_step(table, position, order, 0, {.images = images}, main_stream()),
                    "[training_step] expected at least 1 image, got 0");
}

TEST_CASE("a counter advances on the device", KERNEL_TAGS) {
  const DeviceArray<std::int64_t> counter(1, 41);
  kernels::advance(counter, main_stream());
  CHECK(counter.to_host()[0] == 42);
}

}  // namespace
}  // namespace omniconv::test
