#include "engine/allocator.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/device.h"

namespace omniconv {

namespace {

// Sizes are rounded up so that batches of slightly different size share blocks: to 256 bytes, above 4 KiB to an eighth
// of the next power of two, of which large blocks would waste too much: theirs to 2 MiB.
std::size_t rounded_size(std::size_t bytes) {
  constexpr std::size_t most = std::size_t{2} << 20;
  const std::size_t step = bytes <= 4096 ? 256 : std::min(std::bit_ceil(bytes) / 8, most);
  return bytes == 0 ? 256 : (bytes + step - 1) / step * step;
}

struct Block {
  void* memory = nullptr;  // or there is none
  std::size_t size = 0;
};

/// By size, last in first out; no entry without blocks.
using FreeBlocks = std::map<std::size_t, std::vector<void*>>;

/// The smallest free block of `size` to `most` bytes, if there is one.
Block pop(FreeBlocks& free, std::size_t size, std::size_t most) {
  const auto found = free.lower_bound(size);
  if (found == free.end() || found->first > most) return {};
  const Block block{found->second.back(), found->first};
  found->second.pop_back();
  if (found->second.empty()) free.erase(found);
  return block;
}

}  // namespace

struct MemoryPool::Blocks {
  FreeBlocks free;
  std::int64_t held = 0;
  bool pinned = false;  // something that is recorded uses the blocks, free or not
  bool closed = false;  // the pool is gone: blocks that are given back now are everybody's
};

namespace {

using Pool = std::shared_ptr<MemoryPool::Blocks>;

class Allocator {
 public:
  std::shared_ptr<void> take(std::size_t bytes) {
    Pool pool;
    const Block block = take_block(bytes, pool);
    // Without the lock: where there is no memory for the owner, it gives the block back at once.
    return {block.memory, [this, size = block.size, pool](void* memory) { give_back({memory, size}, pool); }};
  }

  void use_pool(Pool pool) {
    std::lock_guard lock(mutex_);
    expect(!pool || !pool_, "allocator", "expected one memory pool in use at a time, got a second");
    pool_ = std::move(pool);
  }

  void close(const Pool& pool) {
    std::lock_guard lock(mutex_);
    pool->closed = true;
    empty(*pool);
  }

  void pin(const Pool& pool) {
    std::lock_guard lock(mutex_);
    pool->pinned = true;
  }

  std::int64_t held_blocks(const Pool& pool) {
    std::lock_guard lock(mutex_);
    return pool->held;
  }

  void release() {
    std::lock_guard lock(mutex_);
    release_cached();
  }

  MemoryStatistics statistics() {
    std::lock_guard lock(mutex_);
    return statistics_;
  }

  void set_caching(bool on) {
    std::lock_guard lock(mutex_);
    caching_ = on;
    if (!on) release_cached();
  }

  bool caching() {
    std::lock_guard lock(mutex_);
    return caching_;
  }

  void reset_peak() {
    std::lock_guard lock(mutex_);
    statistics_.peak_bytes = statistics_.in_use_bytes;
  }

 private:
  /// Says which pool the block is of.
  Block take_block(std::size_t bytes, Pool& pool) {
    std::lock_guard lock(mutex_);
    const std::size_t size = caching_ ? rounded_size(bytes) : std::max<std::size_t>(bytes, 1);
    Block block;
    // What a pool has is its own anyway: a block may be larger than asked for, as long as it is not wasted on it.
    if (pool_) block = pop(pool_->free, size, caching_ ? 2 * size : size);
    if (block.memory == nullptr) block = take_outside_of_pools(bytes, size);
    if (pool_) ++pool_->held;
    pool = pool_;
    return block;
  }

  Block take_outside_of_pools(std::size_t bytes, std::size_t size) {
    Block block = pop(free_, size, size);
    if (block.memory != nullptr) {
      statistics_.cached_bytes -= size;
    } else {
      block = {device_malloc(size), size};
      if (block.memory == nullptr) {
        if (pool_ && !pool_->pinned) empty(*pool_);
        const MemoryStatistics before = statistics_;
        release_cached();
        block.memory = device_malloc(size);
        if (block.memory == nullptr) throw OutOfMemory(bytes, before);
      }
    }
    statistics_.in_use_bytes += size;
    statistics_.peak_bytes = std::max(statistics_.peak_bytes, statistics_.in_use_bytes);
    return block;
  }

  void give_back(const Block& block, const Pool& pool) {
    std::lock_guard lock(mutex_);
    if (pool) --pool->held;
    if (pool && !pool->closed)
      pool->free[block.size].push_back(block.memory);
    else
      cache(block);
  }

  /// Makes the pool's free blocks everybody's.
  void empty(MemoryPool::Blocks& pool) {
    for (const auto& [size, blocks] : pool.free)
      for (void* const memory : blocks) cache({memory, size});
    pool.free.clear();
  }

  void cache(const Block& block) {
    statistics_.in_use_bytes -= block.size;
    if (!caching_) return device_free(block.memory);
    statistics_.cached_bytes += block.size;
    free_[block.size].push_back(block.memory);
  }

  void release_cached() {
    for (auto& [size, blocks] : free_) {
      for (void* memory : blocks) device_free(memory);
      statistics_.cached_bytes -= size * blocks.size();
    }
    free_.clear();
  }

  std::mutex mutex_;
  bool caching_ = std::getenv("OMNICONV_NO_MEMORY_CACHING") == nullptr;
  FreeBlocks free_;
  Pool pool_;  // that memory is taken from now
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
  return allocator().take(bytes);
}

MemoryPool::MemoryPool() : blocks_(std::make_shared<Blocks>()) {}
MemoryPool::~MemoryPool() {
  allocator().close(blocks_);
}
void MemoryPool::pin() {
  allocator().pin(blocks_);
}
std::int64_t MemoryPool::held_blocks() const {
  return allocator().held_blocks(blocks_);
}

MemoryPool::Use::Use(MemoryPool& pool) {
  allocator().use_pool(pool.blocks_);
}
MemoryPool::Use::~Use() {
  allocator().use_pool(nullptr);
}

MemoryStatistics memory_statistics() { return allocator().statistics(); }

void reset_peak_memory() { allocator().reset_peak(); }

void release_cached_memory() { allocator().release(); }

void set_memory_caching(bool on) { allocator().set_caching(on); }

bool memory_caching() { return allocator().caching(); }

}  // namespace omniconv
