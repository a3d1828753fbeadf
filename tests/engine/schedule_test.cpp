// Learning rate and temperature as functions of the position in a run.
#include "engine/schedule.h"

#include <cmath>
#include <limits>

#include "kernels/error.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

bool close(double value, double expected) {
  return std::abs(value - expected) <= 1e-12 * std::abs(expected);
}

TEST_CASE("the cosine falls from the base rate to 0 and stays within") {
  CHECK(cosine_learning_rate(0.1, 0, 200) == 0.1);
  CHECK(close(cosine_learning_rate(0.1, 100, 200), 0.05));
  CHECK(close(cosine_learning_rate(0.1, 50, 200), 0.08535533905932738));
  CHECK(close(cosine_learning_rate(0.1, 199, 200), 6.168375916970619e-06));
  CHECK(cosine_learning_rate(0.1, 200, 200) == 0);
  CHECK(cosine_learning_rate(0.1, 1000, 200) == 0);
  CHECK(cosine_learning_rate(0.1, -3, 200) == 0.1);
  CHECK(cosine_learning_rate(0.1, 0, 0) == 0);
}

TEST_CASE("the step schedule multiplies once per milestone reached") {
  const std::vector<std::int64_t> milestones = {60, 30};
  CHECK(step_learning_rate(0.4, 29, milestones, 0.5) == 0.4);
  CHECK(step_learning_rate(0.4, 30, milestones, 0.5) == 0.2);
  CHECK(step_learning_rate(0.4, 59, milestones, 0.5) == 0.2);
  CHECK(step_learning_rate(0.4, 60, milestones, 0.5) == 0.1);
  CHECK(step_learning_rate(0.4, 1000, {}, 0.5) == 0.4);
}

TEST_CASE("the temperature falls linearly per iteration and then stays") {
  const TemperatureSchedule schedule{30, 1, 10};
  CHECK(temperature_at(schedule, 0, 391) == 30);
  CHECK(temperature_at(schedule, 1, 391) == 1 + 29 * (3909.0 / 3910.0));
  CHECK(temperature_at(schedule, 1955, 391) == 15.5);
  CHECK(close(temperature_at(schedule, 3909, 391), 1 + 29 / 3910.0));
  CHECK(temperature_at(schedule, 3910, 391) == 1);
  CHECK(temperature_at(schedule, 1'000'000, 391) == 1);
  CHECK(temperature_at(schedule, -1, 391) == 30);
  CHECK(temperature_at(schedule, 0, 0) == 1);
  CHECK(temperature_at({1, 30, 2}, 1, 1) == 15.5);
  CHECK(temperature_at({4, 4, 0}, 7, 100) == 4);
  const auto most = std::numeric_limits<std::int64_t>::max();
  CHECK(temperature_at({30, 1, most}, 0, most) == 30);
  CHECK(temperature_at({30, 1, 10}, most, 1) == 1);
  // 0.3 + (0.9 - 0.3) rounds to more than 0.9.
  CHECK(temperature_at({0.9, 0.3, 3}, 0, 5) == 0.9);
}

TEST_CASE("every shape of a fall starts and ends at its ends, and halves as it says") {
  const double middle[] = {15.5, 15.5, std::sqrt(30.0), 1 / ((1 + 1 / 30.0) / 2)};
  const double quarter_left[] = {8.25, 1 + 29 * (1 - std::cos(3.14159265358979323846 / 4)) / 2, std::pow(30.0, 0.25),
                                 1 / (1 - 29.0 / 30 / 4)};
  const TemperatureShape shapes[] = {TemperatureShape::linear, TemperatureShape::cosine, TemperatureShape::exponential,
                                     TemperatureShape::harmonic};
  for (std::size_t i = 0; i < 4; ++i) {
    const TemperatureSchedule schedule{30, 1, 10, shapes[i]};
    INFO(name_of(schedule.shape));
    CHECK(temperature_at(schedule, 0, 4) == 30);
    CHECK(close(temperature_at(schedule, 20, 4), middle[i]));
    CHECK(close(temperature_at(schedule, 30, 4), quarter_left[i]));
    CHECK(temperature_at(schedule, 40, 4) == 1);
    for (std::int64_t step = 0; step < 40; ++step)
      CHECK(temperature_at(schedule, step, 4) > temperature_at(schedule, step + 1, 4));
    CHECK(temperature_at({1, 30, 10, shapes[i]}, 40, 4) == 30);
    CHECK(parse_temperature(format_temperature(schedule)) == schedule);
  }
  CHECK(format_temperature({30, 1, 10, TemperatureShape::harmonic}) == "30:1:10:harmonic");
  CHECK(parse_temperature("30:1:10:linear") == TemperatureSchedule{30, 1, 10});
}

TEST_CASE("temperature options read and print the same schedule") {
  CHECK(parse_temperature("30:1:10") == TemperatureSchedule{30, 1, 10});
  CHECK(parse_temperature("0.5:2.25:1") == TemperatureSchedule{0.5, 2.25, 1});
  CHECK(parse_temperature("4") == TemperatureSchedule{4, 4, 0});
  CHECK(parse_temperature("1e-3") == TemperatureSchedule{1e-3, 1e-3, 0});
  CHECK(format_temperature({30, 1, 10}) == "30:1:10");
  CHECK(format_temperature({4, 4, 0}) == "4");
  for (const TemperatureSchedule& schedule :
       {TemperatureSchedule{1.0 / 3, 0.1, 7}, TemperatureSchedule{2e-38, 3e38, 1}}) {
    CHECK(parse_temperature(format_temperature(schedule)) == schedule);
  }
}

TEST_CASE("a temperature is what f32 holds as a finite number above 0") {
  for (const double value : {2e-38, 1.0, 1e20, 3.4e38}) CHECK(is_temperature(value));
  for (const double value : {0.0, -1.0, 1e-39, 3.5e38, HUGE_VAL, std::nan("")}) CHECK_FALSE(is_temperature(value));
}

TEST_CASE("impossible temperatures are refused as wrong usage") {
  for (const std::string text : {"",
                                 "0",
                                 "-1",
                                 "nan",
                                 "inf",
                                 "1e999",
                                 "1e39",
                                 "1e-46",
                                 "x",
                                 "4x",
                                 " 4",
                                 "0:1:1",
                                 "30:0:1",
                                 "30:1:0",
                                 "30:1:-1",
                                 "30:1:1.5",
                                 "30:1",
                                 "30:1:",
                                 ":1:1",
                                 "30::1",
                                 "30:1:10:5",
                                 "30:nan:10",
                                 "inf:1:10",
                                 "30:1:99999999999",
                                 "30:1:10:",
                                 "30:1:10:cubic",
                                 "30:1:10:linear:1"}) {
    CHECK_THAT(message_of<UsageError>([&] { parse_temperature(text); }),
               ContainsSubstring(
                   "[temperature] expected START:END:EPOCHS[:linear|cosine|exponential|harmonic] or one number") &&
                   ContainsSubstring("got \"" + text + '"'));
  }
}

}  // namespace
}  // namespace omniconv::test
