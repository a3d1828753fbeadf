#include "engine/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

#include "engine/files.h"
#include "engine/number_text.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

std::optional<double> temperature(std::string_view text) {
  const std::optional<double> value = parse_number<double>(text);
  return value && is_temperature(*value) ? value : std::nullopt;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (std::size_t end = text.find(separator); end != std::string_view::npos; end = text.find(separator)) {
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  parts.push_back(text);
  return parts;
}

constexpr TemperatureShape shapes[] = {TemperatureShape::linear, TemperatureShape::cosine,
                                       TemperatureShape::exponential, TemperatureShape::harmonic};

std::optional<TemperatureShape> shape_named(std::string_view text) {
  for (const TemperatureShape shape : shapes)
    if (text == name_of(shape)) return shape;
  return std::nullopt;
}

}  // namespace

bool is_temperature(double value) {
  return value >= std::numeric_limits<float>::min() && value <= std::numeric_limits<float>::max();
}

std::string_view name_of(TemperatureShape shape) {
  switch (shape) {
    case TemperatureShape::linear:
      return "linear";
    case TemperatureShape::cosine:
      return "cosine";
    case TemperatureShape::exponential:
      return "exponential";
    case TemperatureShape::harmonic:
      return "harmonic";
  }
  return "unknown";
}

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
  const std::vector<std::string_view> parts = split(text, ':');
  if (parts.size() == 1) {
    if (const auto constant = temperature(text)) return {*constant, *constant, 0};
  } else if (parts.size() == 3 || parts.size() == 4) {
    const auto start = temperature(parts[0]), end = temperature(parts[1]);
    const auto epochs = parse_number<std::int32_t>(parts[2]);
    const auto shape = parts.size() == 4 ? shape_named(parts[3]) : TemperatureShape::linear;
    if (start && end && epochs && *epochs >= 1 && shape) return {*start, *end, *epochs, *shape};
  }
  throw UsageError(
      concat("[temperature] expected START:END:EPOCHS[:linear|cosine|exponential|harmonic] or one number, with finite "
             "temperatures above 0 and at least 1 epoch, such as 30:1:10 or 4, got ",
             in_quotes(text)));
}

std::string format_temperature(const TemperatureSchedule& schedule) {
  if (schedule.epochs == 0) return number_text(schedule.end);
  const std::string text = concat(number_text(schedule.start), ':', number_text(schedule.end), ':', schedule.epochs);
  return schedule.shape == TemperatureShape::linear ? text : concat(text, ':', name_of(schedule.shape));
}

kernels::TemperaturePath path_of(const TemperatureSchedule& schedule, std::int64_t batches_per_epoch) {
  const double length = static_cast<double>(schedule.epochs) * static_cast<double>(batches_per_epoch);
  return {schedule.start, schedule.end, length, schedule.shape};
}

double temperature_at(const TemperatureSchedule& schedule, std::int64_t finished_iterations,
                      std::int64_t batches_per_epoch) {
  return kernels::temperature_on(path_of(schedule, batches_per_epoch), static_cast<double>(finished_iterations));
}

}  // namespace omniconv
