// Caching allocator of device memory.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "kernels/error.h"

namespace omniconv {

/// What the allocator holds, in bytes.
struct MemoryStatistics {
  std::size_t in_use_bytes = 0;  ///< handed out now
  std::size_t peak_bytes = 0;    ///< the most ever handed out at once since the last reset
  std::size_t cached_bytes = 0;  ///< free, kept for reuse
};

/// The device has no more memory. Who knows better than the allocator what to do about it catches this and throws
/// with_remedy().
class OutOfMemory : public Error {
 public:
  /// For `bytes` that could not be had beside those in use, even after the cached ones were given back.
  OutOfMemory(std::size_t bytes, const MemoryStatistics& statistics,
              std::string_view remedy = "try a smaller --batch-size");
  OutOfMemory with_remedy(std::string_view remedy) const { return {bytes_, statistics_, remedy}; }

 private:
  std::size_t bytes_;
  MemoryStatistics statistics_;
};

/// Device memory of at least `bytes` bytes, aligned to 256, content undefined. Freed blocks are kept and handed out
/// again to requests of the same rounded size, which is safe because all work goes to one stream.
/// @throws OutOfMemory naming the bytes asked for, in use and cached when the device has no more.
std::shared_ptr<void> allocate(std::size_t bytes);

MemoryStatistics memory_statistics();
void reset_peak_memory();

/// Returns the cached blocks to the device.
void release_cached_memory();

}  // namespace omniconv
