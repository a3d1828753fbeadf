#if !OMNICONV_CUDA  // a CUDA build needs none of this

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "kernels/error.h"
#include "kernels/simt/fibers.h"

namespace omniconv::simt::detail {
namespace {

// The sanitizer's frames are several times as large. Untouched pages cost nothing.
constexpr std::size_t stack_bytes = OMNICONV_ADDRESS_SANITIZER ? 512 * 1024 : 128 * 1024;

// Every guard page splits a mapping of the process in two, and Linux allows 65 530 of them: beyond this many
// stacks (32 OS threads with the largest blocks) the rest go without.
constexpr int max_guarded_stacks = 16'384;
std::atomic<int> guarded_stacks = 0;

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

Fiber& FiberPool::create() {
  auto fiber = std::make_unique<Fiber>();
  const std::size_t guard = page_bytes();
  void* mapping = mmap(nullptr, guard + stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  expect(mapping != MAP_FAILED, "launch", "expected memory for a thread's stack, got: ", std::strerror(errno));
  if (guarded_stacks.fetch_add(1, std::memory_order_relaxed) < max_guarded_stacks)
    mprotect(mapping, guard, PROT_NONE);  // without it an overflow is only harder to find

  // Stacks start at the same place of a page, and their hot lines would all fall into the same few sets of
  // the first-level cache: start each a few lines below the one before.
  const std::size_t color = all_.size() * 5 * 64 % 4096;
  fiber->mapping = static_cast<std::byte*>(mapping);
  fiber->stack_bottom = fiber->mapping + guard;
  fiber->stack_size = stack_bytes - color;
  fiber->context = make_context(fiber->mapping + guard + fiber->stack_size, fiber->stack_size, &enter, fiber.get());
  fiber->pool = this;
  all_.push_back(std::move(fiber));
  free_.reserve(all_.size());
  return *all_.back();
}

void FiberPool::enter(void* fiber) {
  Fiber& self = *static_cast<Fiber*>(fiber);
  FiberPool& pool = *self.pool;
  finish_switch(nullptr, &pool.left_->stack_bottom, &pool.left_->stack_size);
  pool.body_(pool.owner_, self);
  // The pool is being destroyed. Nobody will come back.
  start_switch(nullptr, pool.os_thread_.stack_bottom, pool.os_thread_.stack_size);
  swap_contexts(self.context, pool.os_thread_.context);
}

FiberPool::~FiberPool() {
  stopping_ = true;
  for (const auto& fiber : all_) {
    switch_fibers(os_thread_, *fiber);
    unpoison(fiber->stack_bottom, fiber->stack_size);  // or the next user of these addresses trips over our frames
    munmap(fiber->mapping, page_bytes() + stack_bytes);
    guarded_stacks.fetch_sub(1, std::memory_order_relaxed);
  }
}

}  // namespace omniconv::simt::detail

#endif  // !OMNICONV_CUDA
