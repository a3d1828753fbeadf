// What changes over a run, as pure functions of its position: learning rate and attention temperature.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/temperature.h"

namespace omniconv {

/// Learning rate of epoch `epoch` (from 0), falling along half a cosine from `base` to 0 at `epochs`:
/// base / 2 · (1 + cos(π·epoch / epochs)). Positions outside of [0, epochs] are clamped; 0 if `epochs` < 1.
double cosine_learning_rate(double base, std::int64_t epoch, std::int64_t epochs);

/// base · factor^m, m being the number of `milestones` (epochs, in any order) that `epoch` has reached.
double step_learning_rate(double base, std::int64_t epoch, const std::vector<std::int64_t>& milestones, double factor);

/// Whether kernels can compute with it: they take it as f32, where it must be neither 0 nor infinite.
bool is_temperature(double value);

using kernels::TemperatureShape;

/// Temperature of the attentions: from `start` to `end` over the first `epochs` epochs, then `end`; constant if
/// `epochs` is 0.
struct TemperatureSchedule {
  double start = 30;
  double end = 1;
  std::int64_t epochs = 10;
  TemperatureShape shape = TemperatureShape::linear;

  friend bool operator==(const TemperatureSchedule&, const TemperatureSchedule&) = default;
};

std::string_view name_of(TemperatureShape shape);

/// "30:1:10" (from 30 to 1 over 10 epochs, linear), "30:1:10:cosine" or "4" (constant). @throws UsageError
/// `[temperature] expected ...` for anything else, and for a temperature that is none (is_temperature).
TemperatureSchedule parse_temperature(std::string_view text);

/// The text that parse_temperature turns into the same schedule, bit for bit.
std::string format_temperature(const TemperatureSchedule& schedule);

/// The way over `batches_per_epoch` iterations an epoch.
kernels::TemperaturePath path_of(const TemperatureSchedule& schedule, std::int64_t batches_per_epoch);

/// Temperature of the iteration that follows `finished_iterations` finished ones, as kernels::temperature_on gives it.
double temperature_at(const TemperatureSchedule& schedule, std::int64_t finished_iterations,
                      std::int64_t batches_per_epoch);

}  // namespace omniconv
