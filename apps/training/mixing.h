// How the images of a batch are mixed with each other, drawn per step.
#pragma once

#include <cstdint>

#include "kernels/augment.h"

namespace omniconv {

/// Strengths of mixup and CutMix: the α of Beta(α, α), 0 for none. Where both are on, a coin decides per step.
struct Mixing {
  double mixup = 0;
  double cutmix = 0;

  bool enabled() const { return mixup > 0 || cutmix > 0; }
  friend bool operator==(const Mixing&, const Mixing&) = default;
};

/// Largest α that draw_mix takes: its draws are rejected ever more often.
inline constexpr double largest_mixing_alpha = 4;

/// The mix of the step that follows `finished_steps` finished ones, for images of extent x extent pixels; depends on
/// the arguments alone. `mixing` is enabled.
kernels::Mix draw_mix(const Mixing& mixing, std::int64_t extent, std::uint64_t seed, std::int64_t finished_steps);

}  // namespace omniconv
