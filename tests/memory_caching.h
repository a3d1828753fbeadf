// Whether the allocator keeps memory, for tests of it.
#pragma once

#include "engine/allocator.h"

namespace omniconv::test {

/// As set_memory_caching(on) while it lives.
class WithMemoryCaching {
 public:
  explicit WithMemoryCaching(bool on) : before_(memory_caching()) { set_memory_caching(on); }
  ~WithMemoryCaching() { set_memory_caching(before_); }
  WithMemoryCaching(const WithMemoryCaching&) = delete;
  WithMemoryCaching& operator=(const WithMemoryCaching&) = delete;

 private:
  bool before_;
};

}  // namespace omniconv::test
