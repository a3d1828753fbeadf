// Exponential moving average of a model's weights.
#pragma once

#include <cstdint>

#include "engine/parameters.h"

namespace omniconv {

/// Averages of a store's parameters and buffers: after step t (from 1),
///   average += (1 - d_t) · (value - average),  d_t = min(decay, (1 + t) / (10 + t)),
/// so that the first steps, which are far off, are soon forgotten (Polyak & Juditsky 1992).
class WeightAverage {
 public:
  /// Starts as the store's values. `store` must outlive it and be allocated. @throws Error unless decay is in (0, 1).
  WeightAverage(const ParameterStore& store, double decay);

  /// d_t of step `step`, from 1.
  double decay_at(std::int64_t step) const;
  /// f64 [1] on the device: d_t of the next update(), to be written by the caller.
  const Tensor& step_decay() const { return step_decay_; }
  /// After an optimizer step.
  void update() const;

  /// Exchanges the averages with the store's values, in both directions: between two calls the model computes with
  /// the averages.
  void exchange() const;

 private:
  const ParameterStore& store_;
  double decay_;
  Tensor values_, buffers_;  // laid out like the store's
  Tensor step_decay_;        // f64 [1]
};

}  // namespace omniconv
