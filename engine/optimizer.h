// SGD over a model's parameter arena.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "engine/loss_scaler.h"
#include "engine/parameters.h"
#include "kernels/sgd.h"

namespace omniconv {

/// SGD with momentum (optionally Nesterov) and coupled weight decay, one launch for all parameters; the update is
/// given at kernels::sgd_step. What may change from step to step lives in device memory. Gradients of a net in f16 are
/// those of a scaled loss, and a step in which they overflow is skipped.
class Sgd {
 public:
  /// `store` must outlive the optimizer and be allocated. @throws Error for momentum outside [0, 1), a negative weight
  /// decay, or Nesterov without momentum.
  Sgd(const ParameterStore& store, const kernels::SgdSettings& settings);

  void set_learning_rate(double learning_rate) const;
  /// f64 [1] on the device: what the next step() takes, for those who write it there.
  const Tensor& learning_rate() const { return learning_rate_; }

  /// What backward starts from, the gradient of the loss: 1, or in f16 the loss scale; [1] on the device.
  const Tensor& loss_gradient() const { return loss_gradient_; }

  /// Gradients whose norm is larger are scaled down to `max_norm` before a step. @throws Error unless it is above 0.
  void clip_gradients(double max_norm);

  /// From here on each parameter has the weight decay of its group, and is trained or not; `group_of` gives the number
  /// of a parameter's group by its name. @throws Error for a number that is none of the groups'.
  void use_groups(const std::vector<kernels::SgdGroup>& groups,
                  const std::function<std::size_t(const std::string& name)>& group_of);
  /// As many as before.
  void set_groups(const std::vector<kernels::SgdGroup>& groups) const;

  /// Once a loss [1] that came here was not finite, no step changes anything any more: the weights stay those that made
  /// it. The host need not look. Overflow of scaled gradients is another matter: it skips one step.
  void halt_unless_finite(const Tensor& loss) const;

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
  Tensor halted_;          // i32 [1]
  double max_norm_ = 0;    // 0: gradients are not clipped
  Tensor gradient_scale_;  // f64 [1]
  Tensor clip_workspace_;  // f64
  Tensor group_of_;        // u8 [count], or none
  Tensor groups_;          // SgdGroup [G], as bytes
};

}  // namespace omniconv
