// Stacks that the threads of a CPU block run on, and the switch between them.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/simt/context.h"
#include "kernels/simt/sanitizer.h"

namespace omniconv::simt::detail {

class FiberPool;

/// One stack and the place where work on it goes on.
struct Fiber {
  Context context = nullptr;           // where it goes on
  FiberPool* pool = nullptr;           // null, as the next, for the OS thread's own stack
  std::byte* mapping = nullptr;        // the guard page and the stack above it
  const void* stack_bottom = nullptr;  // what AddressSanitizer is told about the stack
  std::size_t stack_size = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's, while the fiber is suspended
};

/// The fibers of one OS thread. They are kept for good and reused, so that after the first launches
/// nothing is allocated. Each runs `body(owner, itself)`, which returns only when `stopping()`.
class FiberPool {
 public:
  using Body = void (*)(void* owner, Fiber& self);

  FiberPool(Body body, void* owner) : body_(body), owner_(owner) {}
  ~FiberPool();
  FiberPool(const FiberPool&) = delete;
  FiberPool& operator=(const FiberPool&) = delete;

  /// A fiber nobody uses, suspended somewhere in its body.
  Fiber& take() {
    if (free_.empty()) return create();
    Fiber& fiber = *free_.back();
    free_.pop_back();
    return fiber;
  }

  /// The fiber will be suspended next and may be taken again.
  void put_back(Fiber& fiber) { free_.push_back(&fiber); }

  /// Suspends `from`, the running fiber, and goes on in `to`; returns when somebody switches to `from`.
  [[gnu::always_inline]] void switch_fibers(Fiber& from, Fiber& to) {
    left_ = &from;
    start_switch(&from.fake_stack, to.stack_bottom, to.stack_size);
    swap_contexts(from.context, to.context);
    finish_switch(from.fake_stack, &left_->stack_bottom, &left_->stack_size);
  }

  /// The OS thread's own stack, on which run() of the owner was called.
  Fiber& os_thread() { return os_thread_; }

  bool stopping() const { return stopping_; }

 private:
  Fiber& create();
  static void enter(void* fiber);

  Body body_;
  void* owner_;
  Fiber os_thread_;
  Fiber* left_ = nullptr;  // who switched last
  bool stopping_ = false;
  std::vector<std::unique_ptr<Fiber>> all_;
  std::vector<Fiber*> free_;
};

}  // namespace omniconv::simt::detail
