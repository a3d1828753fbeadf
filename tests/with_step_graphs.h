// Steps recorded and repeated, for tests: on the CPU, too, where programs do not.
#pragma once

#include "engine/step_graph.h"

namespace omniconv::test {

/// Steps are recorded, or not, while it lives.
class WithStepGraphs {
 public:
  explicit WithStepGraphs(bool on) : before_(step_graphs()) { set_step_graphs(on); }
  ~WithStepGraphs() { set_step_graphs(before_); }
  WithStepGraphs(const WithStepGraphs&) = delete;
  WithStepGraphs& operator=(const WithStepGraphs&) = delete;

 private:
  bool before_;
};

}  // namespace omniconv::test
