// Training images over training time.
#pragma once

#include <chrono>
#include <cstdint>

#include "engine/device.h"

namespace omniconv {

/// Counts from start() on, without the first two steps of the process, which load code and fill caches.
class SpeedMeter {
 public:
  /// Begins an epoch's training; what was done between two epochs does not count.
  void start() { all_ = warm_ = Span{Clock::now(), 0}; }

  /// After each step.
  void count(std::int64_t images) {
    all_.images += images;
    warm_.images += images;
    if (++steps_ != warm_up_steps) return;
    synchronize();
    warm_ = Span{Clock::now(), 0};
  }

  /// Since start(); exact only behind a read from the device. Where there were no other steps, the first two count.
  double images_per_second() const {
    const Span& span = warm_.images > 0 ? warm_ : all_;
    const double seconds = std::chrono::duration<double>(Clock::now() - span.begin).count();
    return seconds > 0 ? static_cast<double>(span.images) / seconds : 0;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::int64_t warm_up_steps = 2;
  struct Span {
    Clock::time_point begin;
    std::int64_t images;
  };
  Span all_{}, warm_{};
  std::int64_t steps_ = 0;
};

}  // namespace omniconv
