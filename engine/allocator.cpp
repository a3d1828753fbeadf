#include "engine/allocator.h"

#include <bit>
#include <map>
#include <mutex>
#include <vector>

#include "engine/device.h"

namespace omniconv {

namespace {

// Sizes are rounded up so that batches of slightly different size share blocks: to 256 bytes, and above 4 KiB to an
// eighth of the next power of two.
std::size_t rounded_size(std::size_t bytes) {
  const std::size_t step = bytes <= 4096 ? 256 : std::bit_ceil(bytes) / 8;
  return bytes == 0 ? 256 : (bytes + step - 1) / step * step;
}

class Allocator {
 public:
  void* take(std::size_t bytes) {
    const std::size_t size = rounded_size(bytes);
    std::lock_guard lock(mutex_);
    void* memory = nullptr;
    if (auto found = free_.find(size); found != free_.end() && !found->second.empty()) {
      memory = found->second.back();
      found->second.pop_back();
      statistics_.cached_bytes -= size;
    } else {
      memory = device_malloc(size);
      if (memory == nullptr) {
        const MemoryStatistics before = statistics_;
        release_cached();
        memory = device_malloc(size);
        if (memory == nullptr) throw OutOfMemory(bytes, before);
      }
    }
    statistics_.in_use_bytes += size;
    statistics_.peak_bytes = std::max(statistics_.peak_bytes, statistics_.in_use_bytes);
    return memory;
  }

  void give_back(void* memory, std::size_t bytes) {
    const std::size_t size = rounded_size(bytes);
    std::lock_guard lock(mutex_);
    statistics_.in_use_bytes -= size;
    statistics_.cached_bytes += size;
    free_[size].push_back(memory);
  }

  void release() {
    std::lock_guard lock(mutex_);
    release_cached();
  }

  MemoryStatistics statistics() {
    std::lock_guard lock(mutex_);
    return statistics_;
  }

  void reset_peak() {
    std::lock_guard lock(mutex_);
    statistics_.peak_bytes = statistics_.in_use_bytes;
  }

 private:
  void release_cached() {
    for (auto& [size, blocks] : free_) {
      for (void* memory : blocks) device_free(memory);
      statistics_.cached_bytes -= size * blocks.size();
    }
    free_.clear();
  }

  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
  MemoryStatistics statistics_;
};

// Never destroyed: tensors in static storage may outlive any order of destruction.
Allocator& allocator() {
  static Allocator* instance = new Allocator;
  return *instance;
}

}  // namespace

OutOfMemory::OutOfMemory(std::size_t bytes, const MemoryStatistics& statistics, std::string_view remedy)
    : Error(concat("[allocator] expected ", bytes, " more bytes of ", device_kind(), " memory, got none (",
                   statistics.in_use_bytes, " in use, ", statistics.cached_bytes,
                   " cached, which were given back first): ", remedy)),
      bytes_(bytes),
      statistics_(statistics) {}

std::shared_ptr<void> allocate(std::size_t bytes) {
  return {allocator().take(bytes), [bytes](void* memory) { allocator().give_back(memory, bytes); }};
}

MemoryStatistics memory_statistics() { return allocator().statistics(); }

void reset_peak_memory() { allocator().reset_peak(); }

void release_cached_memory() { allocator().release(); }

}  // namespace omniconv
