#if !OMNICONV_CUDA  // a CUDA build needs none of this

#include <cstring>

#include "kernels/error.h"
#include "kernels/simt/device_cpu.h"
#include "kernels/simt/vector.h"

namespace omniconv::simt::detail {

void refuse_misaligned(const char* where, const void* address, std::size_t bytes) {
  fail(where, "expected an address that is a multiple of ", bytes, ", got one that is ",
       reinterpret_cast<std::uintptr_t>(address) % bytes, " behind one");
}

void refuse_absent_lane(const char* operation, int source_lane, int lanes) {
  fail(operation, "expected to read lanes of a warp of ", lanes, " threads, got lane ", source_lane);
}

void expect_whole_warps(const char* operation, int threads) {
  if (threads % warp_size != 0) [[unlikely]]
    fail(operation, "expected a block of a multiple of ", warp_size, " threads, got ", threads);
}

void start_copy(void* destination, const void* source, std::size_t bytes, bool valid) {
  if (reinterpret_cast<std::uintptr_t>(destination) % bytes != 0) refuse_misaligned("copy_async", destination, bytes);
  if (valid && reinterpret_cast<std::uintptr_t>(source) % bytes != 0) refuse_misaligned("copy_async", source, bytes);
  Block& block = *current_thread->block;
  expect(block.shared().contains(destination, bytes), "copy_async", "expected a destination in shared memory");
  std::memset(destination, SharedArena::nan_byte, bytes);  // who reads too early shall notice
  block.copies(*current_thread).copies.push_back({destination, valid ? source : nullptr, bytes});
}

void finish_copies(std::size_t pending_groups) {
  PendingCopies& pending = current_thread->block->copies(*current_thread);
  if (pending.group_ends.size() <= pending_groups) return;
  const std::size_t groups = pending.group_ends.size() - pending_groups;
  const std::size_t arrived = pending.group_ends[groups - 1];
  for (std::size_t i = 0; i < arrived; ++i) {
    const PendingCopy& copy = pending.copies[i];
    if (copy.source != nullptr) {
      std::memcpy(copy.destination, copy.source, copy.bytes);
    } else {
      std::memset(copy.destination, 0, copy.bytes);
    }
  }
  pending.copies.erase(pending.copies.begin(), pending.copies.begin() + static_cast<std::ptrdiff_t>(arrived));
  pending.group_ends.erase(pending.group_ends.begin(),
                           pending.group_ends.begin() + static_cast<std::ptrdiff_t>(groups));
  for (std::size_t& end : pending.group_ends) end -= arrived;
}

}  // namespace omniconv::simt::detail

#endif  // !OMNICONV_CUDA
