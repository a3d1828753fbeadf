#include "engine/optimizer.h"

#include "engine/device.h"

namespace omniconv {

Sgd::Sgd(const ParameterStore& store, const kernels::SgdSettings& settings)
    : store_(store),
      settings_(settings),
      velocity_(Tensor::zeros(store.values().shape(), store.dtype())),
      learning_rate_(Tensor::zeros({1}, DType::f64)) {
  expect(settings.momentum >= 0 && settings.momentum < 1, "sgd", "expected a momentum in [0, 1), got ",
         settings.momentum);
  expect(settings.weight_decay >= 0, "sgd", "expected a weight decay of at least 0, got ", settings.weight_decay);
  expect(!settings.nesterov || settings.momentum > 0, "sgd", "expected a momentum above 0 for Nesterov, got 0");
  if (store.precision() == DType::f16) {
    scaler_.emplace(store.values().count());
    loss_gradient_ = scaler_->scale();
  } else {
    loss_gradient_ =
        dispatch("sgd", store.dtype(), [](auto zero) { return Tensor::from_host(std::vector<decltype(zero)>{1}); });
  }
}

void Sgd::set_learning_rate(double learning_rate) const { learning_rate_.copy_from_host(&learning_rate); }

void Sgd::step() const {
  if (scaler_) scaler_->unscale(store_.gradients());
  dispatch("sgd", store_.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::sgd_step(store_.values().data<T>(), store_.gradients().data<T>(), velocity_.data<T>(), velocity_.count(),
                      learning_rate_.data<double>(), scaler_ ? scaler_->skip() : nullptr, settings_, main_stream());
  });
  store_.round_values();
}

}  // namespace omniconv
