// An array on the device, for tests of kernels.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "engine/allocator.h"
#include "engine/device.h"

// Tests that need the device of the build.
#if OMNICONV_CUDA
#define KERNEL_TAGS "[kernels][cuda]"
#else
#define KERNEL_TAGS "[kernels]"
#endif

namespace omniconv::test {

/// Copies of values on the device. Where a kernel takes a pointer, it takes one of these.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : count_(values.size()), memory_(allocate(bytes())) {
    copy_to_device(memory_.get(), values.data(), bytes());
  }
  explicit DeviceArray(std::int64_t count, T value = T{})
      : DeviceArray(std::vector<T>(static_cast<std::size_t>(count), value)) {}

  T* data() const { return static_cast<T*>(memory_.get()); }
  operator T*() const { return data(); }  // NOLINT: a stand-in for the pointer

  /// The values, once all work that was started is done.
  std::vector<T> to_host() const {
    synchronize();
    std::vector<T> values(count_);
    copy_to_host(values.data(), memory_.get(), bytes());
    return values;
  }

 private:
  std::size_t bytes() const { return count_ * sizeof(T); }

  std::size_t count_;
  std::shared_ptr<void> memory_;
};

}  // namespace omniconv::test
