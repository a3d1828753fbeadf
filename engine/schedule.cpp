#include "engine/schedule.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>
#include <system_error>

#include "engine/files.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

/// The whole of `text` as a number.
template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stopped != end) return std::nullopt;
  return value;
}

/// Kernels take the temperature as f32: there it must be neither 0 nor infinite.
std::optional<double> temperature(std::string_view text) {
  const std::optional<double> value = number<double>(text);
  const bool usable =
      value && *value >= std::numeric_limits<float>::min() && *value <= std::numeric_limits<float>::max();
  return usable ? value : std::nullopt;
}

/// Shortest decimal text that reads back as `value`.
std::string shortest(double value) {
  char text[32];
  const auto [end, error] = std::to_chars(std::begin(text), std::end(text), value);
  return {text, end};
}

}  // namespace

double cosine_learning_rate(double base, std::int64_t epoch, std::int64_t epochs) {
  if (epochs < 1) return 0;
  const double position = static_cast<double>(std::clamp<std::int64_t>(epoch, 0, epochs)) / static_cast<double>(epochs);
  return base / 2 * (1 + std::cos(std::numbers::pi * position));
}

double step_learning_rate(double base, std::int64_t epoch, const std::vector<std::int64_t>& milestones, double factor) {
  double rate = base;
  for (const std::int64_t milestone : milestones) {
    if (epoch >= milestone) rate *= factor;
  }
  return rate;
}

TemperatureSchedule parse_temperature(std::string_view text) {
  const std::size_t first = text.find(':');
  const std::size_t second = first == std::string_view::npos ? first : text.find(':', first + 1);
  if (first == std::string_view::npos) {
    if (const auto constant = temperature(text)) return {*constant, *constant, 0};
  } else if (second != std::string_view::npos) {
    const auto start = temperature(text.substr(0, first));
    const auto end = temperature(text.substr(first + 1, second - first - 1));
    const auto epochs = number<std::int32_t>(text.substr(second + 1));
    if (start && end && epochs && *epochs >= 1) return {*start, *end, *epochs};
  }
  throw UsageError(concat(
      "[temperature] expected START:END:EPOCHS or one number, with finite temperatures above 0 and at least 1 epoch, "
      "such as 30:1:10 or 4, got ",
      in_quotes(text)));
}

std::string format_temperature(const TemperatureSchedule& schedule) {
  if (schedule.epochs == 0) return shortest(schedule.end);
  return concat(shortest(schedule.start), ':', shortest(schedule.end), ':', schedule.epochs);
}

double temperature_at(const TemperatureSchedule& schedule, std::int64_t finished_iterations,
                      std::int64_t batches_per_epoch) {
  const double length = static_cast<double>(schedule.epochs) * static_cast<double>(batches_per_epoch);
  if (!(length > 0)) return schedule.end;
  const double left = std::clamp((length - static_cast<double>(finished_iterations)) / length, 0.0, 1.0);
  const double value = schedule.end + (schedule.start - schedule.end) * left;
  const auto [low, high] = std::minmax(schedule.start, schedule.end);
  return std::clamp(value, low, high);
}

}  // namespace omniconv
