// The temperature of the attentions along its path, and a guard that slows it down.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/simt/config.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// The path of a temperature between its two ends.
enum class TemperatureShape : std::int32_t {
  linear,       ///< as published
  cosine,       ///< half a cosine: slow at both ends
  exponential,  ///< linear in log T
  harmonic,     ///< linear in 1/T, which is what the logits are multiplied by
};

/// From `start` to `end` over `length` iterations, then `end`.
struct TemperaturePath {
  double start = 1, end = 1, length = 0;
  TemperatureShape shape = TemperatureShape::linear;
};

namespace detail {

OMNI_HOST_DEVICE inline double cos_pi(double x) {
#ifdef __CUDA_ARCH__
  return cospi(x);  // cos would bring a reduction of large arguments, which works in local memory
#else
  return std::cos(3.14159265358979323846 * x);
#endif
}

}  // namespace detail

/// The temperature behind `position` iterations. With the part u = max(0, (length - position) / length) that is left:
/// linear end + (start - end)·u, cosine end + (start - end)·(1 - cos(π·u)) / 2, exponential end·(start / end)^u,
/// harmonic 1 / (1/end + (1/start - 1/end)·u); never outside of start and end.
OMNI_HOST_DEVICE inline double temperature_on(const TemperaturePath& path, double position) {
  const double start = path.start, end = path.end, left = (path.length - position) / path.length;
  if (!(path.length > 0) || left <= 0) return end;
  if (left >= 1) return start;
  double value = end + (start - end) * left;
  if (path.shape == TemperatureShape::cosine) value = end + (start - end) * (1 - detail::cos_pi(left)) / 2;
  if (path.shape == TemperatureShape::exponential) value = end * std::pow(start / end, left);
  if (path.shape == TemperatureShape::harmonic) value = 1 / (1 / end + (1 / start - 1 / end) * left);
  const double low = start < end ? start : end, high = start < end ? end : start;
  return value < low ? low : value > high ? high : value;
}

/// What the guard of a temperature knows, in device memory, as five doubles.
struct GuardState {
  double position = 0;  ///< on the path, in iterations
  double steps = 0;     ///< losses seen
  double fast = 0;      ///< their mean over about the last 16
  double slow = 0;      ///< their mean over about the last 128
  double last = 0;      ///< temperature of the step whose loss was seen last
};

/// After a step: takes its loss [1] into the means, moves one iteration on along the path unless the fast mean lies
/// more than a twentieth above the slow one, and sets `temperature` (one double on the device) for the next step. While
/// the loss jumps, the temperature stands still. A loss that is not finite changes nothing.
template <class T>
void guard_temperature(const T* loss, const TemperaturePath& path, GuardState* state, double* temperature,
                       Stream stream);

}  // namespace omniconv::kernels
