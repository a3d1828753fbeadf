#if !OMNICONV_CUDA  // a CUDA build needs none of this

#include <cstdint>

#include "kernels/simt/context.h"

namespace omniconv::simt::detail {

#ifdef OMNICONV_BOOST_CONTEXT

namespace {

struct Start {
  void (*entry)(void*);
  void* argument;
};

// The first visit, from make_context(), only brings what to do; the second comes to do it.
void start(boost::context::detail::transfer_t maker) {
  const Start what = *static_cast<const Start*>(maker.data);
  const auto left = boost::context::detail::jump_fcontext(maker.fctx, nullptr);
  *static_cast<Context*>(left.data) = left.fctx;
  what.entry(what.argument);
}

}  // namespace

Context make_context(std::byte* top, std::size_t bytes, void (*entry)(void*), void* argument) {
  Start what{entry, argument};
  return boost::context::detail::jump_fcontext(boost::context::detail::make_fcontext(top, bytes, start), &what).fctx;
}

#else

// A suspended stack holds, from its top element on, the registers that a function has to preserve and the address
// to return to. Saved registers of a new stack hand the trampoline what to call.
asm(R"(
.text
.p2align 4
.globl omniconv_swap_contexts
.hidden omniconv_swap_contexts
.type omniconv_swap_contexts, @function
omniconv_swap_contexts:
  .cfi_startproc
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .cfi_endproc
.size omniconv_swap_contexts, .-omniconv_swap_contexts

.p2align 4
.globl omniconv_enter_context
.hidden omniconv_enter_context
.type omniconv_enter_context, @function
omniconv_enter_context:
  .cfi_startproc
  .cfi_undefined rip
  movq %r12, %rdi
  call *%rbx
  ud2
  .cfi_endproc
.size omniconv_enter_context, .-omniconv_enter_context
)");

extern "C" [[gnu::visibility("hidden")]] void omniconv_enter_context();

Context make_context(std::byte* top, std::size_t, void (*entry)(void*), void* argument) {
  // In the order of the pops: r15, r14, r13, r12, rbx, rbp, the address to return to. The trampoline starts with the
  // stack pointer at a multiple of 16, as a call needs it.
  void** stack = reinterpret_cast<void**>(reinterpret_cast<std::uintptr_t>(top) / 16 * 16);
  *--stack = reinterpret_cast<void*>(&omniconv_enter_context);
  *--stack = nullptr;
  *--stack = reinterpret_cast<void*>(entry);
  *--stack = argument;
  for (int i = 0; i < 3; ++i) *--stack = nullptr;
  return stack;
}

#endif

}  // namespace omniconv::simt::detail
#endif
