// Changing stacks.
//
// On x86-64 by hand: 3 ns a switch instead of Boost's 13. Boost saves the floating-point environment, which no
// kernel changes, and leaves its function by a jump, after which the processor mispredicts the returns that follow.
// Elsewhere, and with OMNICONV_BOOST_CONTEXT defined, by Boost.Context.
#pragma once

#include <cstddef>

#if !defined(__x86_64__) && !defined(OMNICONV_BOOST_CONTEXT)
#define OMNICONV_BOOST_CONTEXT
#endif
#ifdef OMNICONV_BOOST_CONTEXT
#include <boost/context/detail/fcontext.hpp>
#endif

namespace omniconv::simt::detail {

/// Where a suspended stack goes on. Null while it runs.
using Context = void*;

#ifdef OMNICONV_BOOST_CONTEXT

/// Suspends the running stack into `from` and goes on in `to`; returns when somebody goes on in `from`.
inline void swap_contexts(Context& from, Context to) {
  const auto left = boost::context::detail::jump_fcontext(to, &from);
  *static_cast<Context*>(left.data) = left.fctx;  // only here is it known where the one before us was suspended
}

#else

extern "C" [[gnu::visibility("hidden")]] void omniconv_swap_contexts(Context* from, Context to);

/// Suspends the running stack into `from` and goes on in `to`; returns when somebody goes on in `from`.
inline void swap_contexts(Context& from, Context to) {
  omniconv_swap_contexts(&from, to);
}

#endif

/// A suspended context that calls `entry(argument)` when one goes on in it; `entry` never returns. The stack grows down
/// from `top`.
Context make_context(std::byte* top, std::size_t bytes, void (*entry)(void*), void* argument);

}  // namespace omniconv::simt::detail
