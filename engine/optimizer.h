// SGD over a model's parameter arena.
#pragma once

#include "engine/parameters.h"
#include "kernels/sgd.h"

namespace omniconv {

/// SGD with momentum (optionally Nesterov) and coupled weight decay, one launch for all parameters; the update is
/// given at kernels::sgd_step. The learning rate lives in device memory.
class Sgd {
 public:
  /// `store` must outlive the optimizer and be allocated. @throws Error for momentum outside [0, 1), a negative weight
  /// decay, or Nesterov without momentum.
  Sgd(const ParameterStore& store, const kernels::SgdSettings& settings);

  void set_learning_rate(double learning_rate) const;

  /// weights -= learning rate · direction, from the store's gradients.
  void step() const;

  /// [count], laid out like the store's values.
  const Tensor& velocity() const { return velocity_; }

 private:
  const ParameterStore& store_;
  kernels::SgdSettings settings_;
  Tensor velocity_;
  Tensor learning_rate_;  // f64 [1]
};

}  // namespace omniconv
