#include "kernels/temperature.h"

#include "kernels/simt/simt.h"

namespace omniconv::kernels {
namespace {

constexpr double fast_steps = 16, slow_steps = 128, tolerated_rise = 1.05;

/// Moves a mean of `steps` values towards a new one: the plain mean at first, then over about the last `most`.
OMNI_HOST_DEVICE double moved(double mean, double value, double steps, double most) {
  return mean + (value - mean) / (steps < most ? steps : most);
}

}  // namespace

template <class T>
void guard_temperature(const T* loss, const TemperaturePath& path, GuardState* state, double* temperature,
                       Stream stream) {
  simt::for_each_index(1, stream, [=] OMNI_HOST_DEVICE(std::int64_t) {
    const auto value = static_cast<double>(*loss);
    if (!std::isfinite(value)) return;
    GuardState s = *state;
    s.steps += 1;
    s.fast = moved(s.fast, value, s.steps, fast_steps);
    s.slow = moved(s.slow, value, s.steps, slow_steps);
    s.last = *temperature;
    if (s.fast <= tolerated_rise * s.slow) s.position += 1;
    *state = s;
    *temperature = temperature_on(path, s.position);
  });
}

template void guard_temperature(const float*, const TemperaturePath&, GuardState*, double*, Stream);
template void guard_temperature(const double*, const TemperaturePath&, GuardState*, double*, Stream);

}  // namespace omniconv::kernels
