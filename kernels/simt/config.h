// What the two devices name differently, and the limits they share.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef OMNICONV_CUDA
#define OMNICONV_CUDA 0
#endif

#if OMNICONV_CUDA && defined(__CUDACC__)
#define OMNI_KERNEL __global__
#define OMNI_DEVICE __device__ __forceinline__
#define OMNI_HOST_DEVICE __host__ __device__
#define OMNI_UNROLL _Pragma("unroll")          // in front of a loop whose arrays have to stay in registers
#define OMNI_CONSTANT const __grid_constant__  // a kernel's parameter with arrays that are indexed by variables
#else
#define OMNI_KERNEL
#define OMNI_DEVICE inline
#define OMNI_HOST_DEVICE
#define OMNI_UNROLL
#define OMNI_CONSTANT const
#endif

namespace omniconv::simt {

/// Extents of a grid or a block, or a position in one; x runs fastest.
struct Dim3 {
  unsigned x = 1, y = 1, z = 1;

  friend constexpr bool operator==(const Dim3&, const Dim3&) = default;
};

/// Threads of a warp.
inline constexpr int warp_size = 32;

/// Threads a block may have.
inline constexpr int max_block_threads = 1024;

/// Bytes of shared memory that a block's compile-time arrays (`shared_array`) may take together.
inline constexpr std::size_t max_static_shared_bytes = 48 * 1024;

/// Bytes of shared memory a block may take in all (Hopper's limit).
inline constexpr std::size_t max_shared_bytes = 227 * 1024;

namespace detail {

/// Every shared array starts at a multiple of this many bytes, on both devices (on the CPU at a wider one yet).
inline constexpr std::size_t shared_alignment = 16;

OMNI_HOST_DEVICE constexpr std::size_t round_up(std::size_t bytes, std::size_t multiple) {
  return (bytes + multiple - 1) / multiple * multiple;
}

// What reductions combine with.
struct Plus {
  template <class T>
  OMNI_HOST_DEVICE T operator()(T a, T b) const {
    return a + b;
  }
};
struct Maximum {
  template <class T>
  OMNI_HOST_DEVICE T operator()(T a, T b) const {
    return a < b || b != b ? b : a;  // a NaN on either side comes through
  }
};

}  // namespace detail

/// Adds up, on the host, the bytes a kernel's SharedMemory will carve out:
/// `SharedSize{}.array<float>(n).array<int>(m).bytes()`.
class SharedSize {
 public:
  template <class T>
  [[nodiscard]] constexpr SharedSize array(std::size_t count) const {
    return SharedSize(bytes_ + detail::round_up(count * sizeof(T), detail::shared_alignment));
  }

  [[nodiscard]] constexpr std::size_t bytes() const { return bytes_; }

  constexpr SharedSize() = default;

 private:
  constexpr explicit SharedSize(std::size_t bytes) : bytes_(bytes) {}

  std::size_t bytes_ = 0;
};

}  // namespace omniconv::simt
