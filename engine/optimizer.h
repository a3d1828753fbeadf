// SGD over a model's parameter arena.
#pragma once

#include <optional>

#include "engine/loss_scaler.h"
#include "engine/parameters.h"
#include "kernels/sgd.h"

namespace omniconv {

/// SGD with momentum (optionally Nesterov) and coupled weight decay, one launch for all parameters; the update is
/// given at kernels::sgd_step. The learning rate lives in device memory. Gradients of a net in f16 are those of a
/// scaled loss, and a step in which they overflow is skipped.
class Sgd {
 public:
  /// `store` must outlive the optimizer and be allocated. @throws Error for momentum outside [0, 1), a negative weight
  /// decay, or Nesterov without momentum.
  Sgd(const ParameterStore& store, const kernels::SgdSettings& settings);

  void set_learning_rate(double learning_rate) const;

  /// What backward starts from, the gradient of the loss: 1, or in f16 the loss scale; [1] on the device.
  const Tensor& loss_gradient() const { return loss_gradient_; }

  /// weights -= learning rate · direction, from the store's gradients, which in f16 are unscaled first.
  void step() const;

  /// [count], laid out like the store's values.
  const Tensor& velocity() const { return velocity_; }
  /// Of a net in f16, else empty.
  const std::optional<LossScaler>& loss_scaler() const { return scaler_; }

 private:
  const ParameterStore& store_;
  kernels::SgdSettings settings_;
  Tensor velocity_;
  Tensor learning_rate_;  // f64 [1]
  std::optional<LossScaler> scaler_;
  Tensor loss_gradient_;
};

}  // namespace omniconv
