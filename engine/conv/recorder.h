// Which convolutions ran, by which algorithm, and for how long: what `bench` reports layer by layer.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "engine/conv/plan.h"
#include "engine/device.h"

namespace omniconv::conv {

/// One direction of one convolution that ran.
struct Run {
  Problem problem;  ///< of 0 kernels for a static convolution
  std::string_view algorithm, reason;
  const void* weight = nullptr;  ///< its address tells layers apart
  double seconds = 0;            ///< on the device
};

/// While it lives, every convolution is recorded. One at a time, and not for threads.
class RunRecorder {
 public:
  RunRecorder();
  ~RunRecorder();
  RunRecorder(const RunRecorder&) = delete;
  RunRecorder& operator=(const RunRecorder&) = delete;

  /// The convolutions since the last call, in order; waits for the device.
  std::vector<Run> take();

 private:
  friend class RunTimer;
  struct Entry {
    Run run;
    Event begin, end;
  };
  std::vector<Entry> entries_;
};

/// Around a convolution: records it if somebody wants to know, and leaves out those that it calls itself.
class RunTimer {
 public:
  explicit RunTimer(const Run& run);
  ~RunTimer();
  RunTimer(const RunTimer&) = delete;
  RunTimer& operator=(const RunTimer&) = delete;

  /// Another algorithm than announced had to step in.
  void replace_algorithm(std::string_view algorithm, std::string_view reason);

 private:
  std::unique_ptr<RunRecorder::Entry> entry_;
};

}  // namespace omniconv::conv
