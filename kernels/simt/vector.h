// Several neighbouring elements at once: 16 bytes on a GPU, a 64-byte register on the CPU.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/simt/config.h"

namespace omniconv::simt {

/// N neighbouring elements that travel in one access.
template <class T, int N>
struct alignas(N * sizeof(T)) Vec {
  static_assert(N > 0 && (N * sizeof(T) & (N * sizeof(T) - 1)) == 0, "a vector has a power of two of bytes");

  T v[N];

  OMNI_HOST_DEVICE T& operator[](int i) { return v[i]; }
  OMNI_HOST_DEVICE const T& operator[](int i) const { return v[i]; }
};

/// How many T one access moves best.
#if OMNICONV_CUDA
template <class T>
inline constexpr int vector_width = 16 / static_cast<int>(sizeof(T));
#else
template <class T>
inline constexpr int vector_width = 64 / static_cast<int>(sizeof(T));
#endif

namespace detail {

#if OMNICONV_CUDA
// So many bytes as words that one access moves. The compiler would take a Vec of 16-bit elements apart into accesses
// of its elements.
template <int Bytes>
struct Words {
  using Small = std::conditional_t<Bytes == 1, unsigned char, std::conditional_t<Bytes == 2, unsigned short, unsigned>>;
  using Word = std::conditional_t<Bytes <= 4, Small, std::conditional_t<Bytes == 8, uint2, uint4>>;

  Word words[Bytes / sizeof(Word)];
};
#else
[[noreturn]] void refuse_misaligned(const char* where, const void* address, std::size_t bytes);
#endif

}  // namespace detail

/// The N elements from `from` on, an address that is a multiple of their size in bytes.
template <int N, class T>
OMNI_DEVICE Vec<T, N> load_vector(const T* from) {
#if OMNICONV_CUDA
  const auto words = *reinterpret_cast<const detail::Words<N * sizeof(T)>*>(from);
  Vec<T, N> result;
  memcpy(&result, &words, sizeof(words));
  return result;
#else
  constexpr std::size_t bytes = N * sizeof(T);
  if (reinterpret_cast<std::uintptr_t>(from) % bytes != 0) [[unlikely]]
    detail::refuse_misaligned("load_vector", from, bytes);
  Vec<T, N> result;
  std::memcpy(result.v, __builtin_assume_aligned(from, bytes), bytes);
  return result;
#endif
}

/// Writes the elements to `to` and behind, an address that is a multiple of their size in bytes.
template <class T, int N>
OMNI_DEVICE void store_vector(T* to, const Vec<T, N>& value) {
#if OMNICONV_CUDA
  detail::Words<N * sizeof(T)> words;
  memcpy(&words, &value, sizeof(words));
  *reinterpret_cast<detail::Words<N * sizeof(T)>*>(to) = words;
#else
  constexpr std::size_t bytes = N * sizeof(T);
  if (reinterpret_cast<std::uintptr_t>(to) % bytes != 0) [[unlikely]]
    detail::refuse_misaligned("store_vector", to, bytes);
  std::memcpy(__builtin_assume_aligned(to, bytes), value.v, bytes);
#endif
}

}  // namespace omniconv::simt
