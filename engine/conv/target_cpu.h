// Where the CPU's own convolutions write what they computed, sixteen channels of a pixel at a time.
#pragma once

#include <cstdint>
#include <limits>

#include "engine/conv/epilogue.h"
#include "engine/conv/vector_cpu.h"

namespace omniconv::conv {

/// values (+)= epilogue(result ⊙ scale), and dots = Σ_p reference ⊙ result ⊙ scale.
struct Target {
  float* values;                 // [N, pixels, channels]
  const float* scale = nullptr;  // [N, channels]
  bool accumulate = false;
  const float* reference = nullptr;  // like values
  float* dots = nullptr;             // [N, channels]
  Epilogue<float> epilogue = {};     // without accumulation and dots
};

/// Sixteen channels of one sample of a target, from `channel` on.
class TargetLanes {
 public:
  TargetLanes(const Target& target, std::int64_t n, std::int64_t pixels, std::int64_t channels, std::int64_t channel)
      : target_(target),
        channels_(channels),
        first_(n * pixels * channels + channel),
        dots_at_(n * channels + channel) {
    scale_ = target.scale ? vector_at(target.scale + n * channels + channel) : 1.0f - Vector{};
    const Epilogue<float>& e = target.epilogue;
    if (e.scale) scale_ *= vector_at(e.scale + channel);
    if (e.shift) shift_ = vector_at(e.shift + channel);
    floor_ = (e.relu ? 0.0f : -std::numeric_limits<float>::infinity()) - Vector{};
  }

  void write(std::int64_t pixel, const Vector& result) {
    const std::int64_t at = first_ + pixel * channels_;
    Vector value = result * scale_;
    Vector& to = vector_at(target_.values + at);
    if (target_.dots) dots_ += value * vector_at(target_.reference + at);
    if (target_.accumulate) value += to;
    if (!target_.epilogue.empty()) {
      value += shift_;
      if (target_.epilogue.residual) value += vector_at(target_.epilogue.residual + at);
      value = value < floor_ ? floor_ : value;  // NaN stays
    }
    to = value;
  }

  /// After the last pixel.
  void finish() {
    if (target_.dots) vector_at(target_.dots + dots_at_) = dots_;
  }

 private:
  const Target& target_;
  std::int64_t channels_, first_, dots_at_;
  Vector scale_, shift_ = {}, floor_, dots_ = {};
};

}  // namespace omniconv::conv
