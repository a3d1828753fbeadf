// SIGINT and SIGTERM as a wish that the training loop grants between two steps.
#pragma once

#include <csignal>

namespace omniconv {

/// While it lives, the first SIGINT or SIGTERM is remembered, and a second one ends the process at once, as it would
/// without us. A signal that the process was started to ignore (nohup, a shell's background job) stays ignored.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// The signal that came, or 0.
  static int received();

 private:
  struct sigaction old_interrupt_ {};
  struct sigaction old_terminate_ {};
};

}  // namespace omniconv
