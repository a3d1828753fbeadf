// Settings of the engine that hold while an object lives.
#pragma once

#include "engine/allocator.h"
#include "engine/device.h"
#include "engine/step_graph.h"

namespace omniconv::test {

/// set(value) now, and what get() said before at the end.
template <auto get, auto set>
class WithSetting {
 public:
  explicit WithSetting(decltype(get()) value) : before_(get()) { set(value); }
  ~WithSetting() { set(before_); }
  WithSetting(const WithSetting&) = delete;
  WithSetting& operator=(const WithSetting&) = delete;

 private:
  decltype(get()) before_;
};

/// The engine works with so many threads.
using WithThreads = WithSetting<thread_count, set_threads>;
/// Steps are recorded and repeated, or not: on the CPU, too, where programs do not.
using WithStepGraphs = WithSetting<step_graphs, set_step_graphs>;
using WithMemoryCaching = WithSetting<memory_caching, set_memory_caching>;

}  // namespace omniconv::test
