// What host code above the kernels needs to know of a queue of work on the device.
#pragma once

namespace omniconv {

/// A queue of work on the device, not owned: a `cudaStream_t` on CUDA; on the CPU work is done when
/// its call returns and the handle stays null.
struct Stream {
  void* handle = nullptr;
};

}  // namespace omniconv
