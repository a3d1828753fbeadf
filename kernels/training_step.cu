#include "kernels/training_step.h"

#include <algorithm>

#include "kernels/error.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {
namespace {

template <class T>
OMNI_HOST_DEVICE void set(T* target, const T& value) {
  if (target != nullptr) *target = value;
}

}  // namespace

void begin_step(const StepValues* table, const std::int64_t* position, const std::int32_t* order, std::int64_t samples,
                const StepTargets& targets, Stream stream) {
  expect(samples >= 1 && targets.images != nullptr, "training_step", "expected at least 1 image, got ", samples);
  simt::for_each_index(samples, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    const StepValues& values = table[*position];
    targets.images[i] = order[values.first + i];
    if (i != 0) return;
    set(targets.learning_rate, values.learning_rate);
    set(targets.temperature, values.temperature);
    set(targets.average_decay, values.average_decay);
    set(targets.epoch, values.epoch);
    set(targets.pass, values.pass);
    set(targets.mix, values.mix);
  });
}

template <class T>
void finish_step(const T* loss, T* losses, std::int64_t* position, Stream stream) {
  simt::for_each_index(1, stream, [=] OMNI_HOST_DEVICE(std::int64_t) { losses[(*position)++] = *loss; });
}

void advance(std::int64_t* counter, Stream stream) {
  simt::for_each_index(1, stream, [=] OMNI_HOST_DEVICE(std::int64_t) { ++*counter; });
}

template void finish_step(const float*, float*, std::int64_t*, Stream);
template void finish_step(const double*, double*, std::int64_t*, Stream);

}  // namespace omniconv::kernels
