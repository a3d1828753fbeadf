// Dynamic loss scaling: what training in f16 needs beside SGD.
#pragma once

#include "engine/tensor.h"
#include "kernels/loss_scale.h"

namespace omniconv {

/// Scale and decisions live in device memory, so that no step waits for the host; the rule is given at
/// kernels::unscale_gradients.
class LossScaler {
 public:
  /// For an arena of `count` gradients.
  explicit LossScaler(std::int64_t count, const kernels::LossScaleSettings& settings = {});

  /// f32 [1]: what the loss is multiplied by, that is, the gradient that backward starts from.
  const Tensor& scale() const { return scale_; }

  /// Divides the gradients (f32 [count]) by the scale, in place, decides whether this step is to be skipped, and sets
  /// the scale of the next.
  void unscale(const Tensor& gradients) const;
  /// One i32 on the device: not 0 where the step that was unscaled last is to be skipped.
  const std::int32_t* skip() const { return skip_.data<std::int32_t>(); }

  /// Everything that the next step depends on.
  struct State {
    float scale = 0;
    std::int64_t good_steps = 0;     ///< since the scale last changed
    std::int64_t skipped_steps = 0;  ///< of the whole run
  };
  /// Waits for the device.
  State read() const;
  void write(const State& state) const;

 private:
  kernels::LossScaleSettings settings_;
  Tensor scale_;      // f32 [1]
  Tensor state_;      // one kernels::LossScaleState
  Tensor skip_;       // i32 [1]
  Tensor workspace_;  // i32
};

}  // namespace omniconv
