// Carrying an exception out of parallel work.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <limits>
#include <mutex>

namespace omniconv::simt::detail {

/// Keeps, of the exceptions of several OS threads, that of the piece of work with the lowest number.
class FirstFailure {
 public:
  /// To be called while an exception is being handled.
  void record(std::int64_t number) {
    const std::lock_guard lock(mutex_);
    if (number >= first_.load(std::memory_order_relaxed)) return;
    first_.store(number, std::memory_order_relaxed);
    exception_ = std::current_exception();
  }

  /// Whether a piece before this one has failed. The pieces before the first failure should all be done, so that
  /// what is reported does not depend on who was faster.
  bool is_before(std::int64_t number) const { return first_.load(std::memory_order_relaxed) < number; }

  void rethrow() const {
    if (exception_) std::rethrow_exception(exception_);
  }

 private:
  std::atomic<std::int64_t> first_ = std::numeric_limits<std::int64_t>::max();
  std::mutex mutex_;
  std::exception_ptr exception_;
};

}  // namespace omniconv::simt::detail
