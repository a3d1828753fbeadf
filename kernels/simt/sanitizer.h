// AddressSanitizer's manual interface; empty functions without it.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define OMNICONV_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OMNICONV_ADDRESS_SANITIZER 1
#endif
#endif
#ifndef OMNICONV_ADDRESS_SANITIZER
#define OMNICONV_ADDRESS_SANITIZER 0
#endif

#if OMNICONV_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace omniconv::simt::detail {

#if OMNICONV_ADDRESS_SANITIZER

inline void poison(const volatile void* address, std::size_t bytes) {
  __asan_poison_memory_region(address, bytes);
}
inline void unpoison(const volatile void* address, std::size_t bytes) {
  __asan_unpoison_memory_region(address, bytes);
}

/// To be called right before and right after a change of stacks. A null `fake_stack` says that the stack
/// that is left will not be used again.
inline void start_switch(void** fake_stack, const void* bottom, std::size_t size) {
  __sanitizer_start_switch_fiber(fake_stack, bottom, size);
}
inline void finish_switch(void* fake_stack, const void** left_bottom, std::size_t* left_size) {
  __sanitizer_finish_switch_fiber(fake_stack, left_bottom, left_size);
}

#else

inline void poison(const volatile void*, std::size_t) {}
inline void unpoison(const volatile void*, std::size_t) {}
inline void start_switch(void**, const void*, std::size_t) {}
inline void finish_switch(void*, const void**, std::size_t*) {}

#endif

}  // namespace omniconv::simt::detail
