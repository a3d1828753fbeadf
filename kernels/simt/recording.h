// Launches that are kept instead of run, on the CPU: what the capture of a stream is on CUDA.
#pragma once

#include <functional>
#include <utility>
#include <vector>

namespace omniconv::simt {

/// The launches and copies of a piece of work, with their arguments, to be run as often as wanted.
class Recording {
 public:
  /// Calls `work`; what it asks the device for in this host thread is kept and not done. @throws Error inside of another
  /// recording, and what `work` throws.
  explicit Recording(const std::function<void()>& work);
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  /// The one that this host thread is in the middle of, or nullptr.
  static Recording* in_progress() { return in_progress_; }
  void add(std::function<void()> step) { steps_.push_back(std::move(step)); }

  /// Does everything in its order.
  void run() const {
    for (const auto& step : steps_) step();
  }

 private:
  static inline thread_local Recording* in_progress_ = nullptr;
  std::vector<std::function<void()>> steps_;
};

/// @throws Error while this host thread records: `what` would be done once, and missing from the recording.
void refuse_in_recording(const char* where, const char* what);

}  // namespace omniconv::simt
