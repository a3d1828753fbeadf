// What host code above the kernels needs to know of a queue of work on the device.
#pragma once

namespace omniconv {

/// A queue of work on the device, not owned: a `cudaStream_t` on CUDA, of which null is CUDA's default stream; on the
/// CPU work is done when its call returns and the handle stays null. There is no default: work on another stream than
/// `main_stream()` is not ordered with what the engine does there.
struct Stream {
  explicit constexpr Stream(void* queue) : handle(queue) {}

  void* handle;
};

}  // namespace omniconv
