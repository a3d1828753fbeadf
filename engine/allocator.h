// Caching allocator of device memory.
#pragma once

#include <cstddef>
#include <cstdint>
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

/// Memory that recorded work is done in: what was allocated while a Use lives, and is nobody else's as long as the pool
/// lives, so that the work can be repeated. It counts as in use, whether or not a tensor holds it. Work that is done by
/// turns, on the main stream as all is, may share a pool.
class MemoryPool {
 public:
  MemoryPool();
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// While it lives, allocate() takes from the pool what is free there, and else lets the pool grow. Not nested.
  class Use {
   public:
    explicit Use(MemoryPool& pool);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
  };

  /// Says that recorded work uses the blocks: none goes back to the device any more, as free ones do until then where
  /// memory is out.
  void pin();
  /// Blocks of the pool that somebody holds.
  std::int64_t held_blocks() const;

  /// Of the allocator's own.
  struct Blocks;

 private:
  std::shared_ptr<Blocks> blocks_;
};

/// Device memory of at least `bytes` bytes, aligned to 256, content undefined. Freed blocks are kept and handed out
/// again to requests of the same rounded size (within a pool also to smaller ones), which is safe because all work goes
/// to one stream.
/// @throws OutOfMemory naming the bytes asked for, in use and cached when the device has no more.
std::shared_ptr<void> allocate(std::size_t bytes);

MemoryStatistics memory_statistics();
void reset_peak_memory();

/// Returns the cached blocks to the device.
void release_cached_memory();

/// Whether freed blocks are kept, and sizes rounded up so that more requests share them. Without, every block is as large
/// as was asked for and goes back at once (but for those of a MemoryPool), so that sanitizers see what reaches beyond its
/// end or its life. At first it is on, unless the environment has OMNICONV_NO_MEMORY_CACHING.
void set_memory_caching(bool on);
bool memory_caching();

}  // namespace omniconv
