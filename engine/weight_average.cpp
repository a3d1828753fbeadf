#include "engine/weight_average.h"

#include <algorithm>

#include "engine/device.h"
#include "kernels/averages.h"

namespace omniconv {
namespace {

Tensor copy_of(const Tensor& source) {
  Tensor copy = Tensor::empty(source.shape(), source.dtype());
  copy.copy_from(source);
  return copy;
}

}  // namespace

WeightAverage::WeightAverage(const ParameterStore& store, double decay)
    : store_(store),
      decay_(decay),
      values_(copy_of(store.values())),
      buffers_(copy_of(store.buffers())),
      step_decay_(Tensor::zeros({1}, DType::f64)) {
  expect(decay > 0 && decay < 1, "weight_average", "expected a decay in (0, 1), got ", decay);
}

double WeightAverage::decay_at(std::int64_t step) const {
  const auto t = static_cast<double>(step);
  return std::min(decay_, (1 + t) / (10 + t));
}

void WeightAverage::update() const {
  dispatch("weight_average", store_.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::move_average(values_.data<T>(), store_.values().data<T>(), step_decay_.data<double>(), values_.count(),
                          main_stream());
    kernels::move_average(buffers_.data<T>(), store_.buffers().data<T>(), step_decay_.data<double>(), buffers_.count(),
                          main_stream());
  });
}

void WeightAverage::exchange() const {
  dispatch("weight_average", store_.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::exchange(values_.data<T>(), store_.values().data<T>(), values_.count(), main_stream());
    kernels::exchange(buffers_.data<T>(), store_.buffers().data<T>(), buffers_.count(), main_stream());
  });
  store_.round_values();
}

}  // namespace omniconv
