// What a kernel may do, on a GPU.
#pragma once

#include <cuda_runtime.h>

#include <cstring>
#include <type_traits>

#include "kernels/simt/config.h"

namespace omniconv::simt {

/// The thread's position in its block.
OMNI_DEVICE Dim3 thread_index() {
  return {threadIdx.x, threadIdx.y, threadIdx.z};
}
/// The block's position in the grid.
OMNI_DEVICE Dim3 block_index() {
  return {blockIdx.x, blockIdx.y, blockIdx.z};
}
/// Threads of a block.
OMNI_DEVICE Dim3 block_extent() {
  return {blockDim.x, blockDim.y, blockDim.z};
}
/// Blocks of the grid.
OMNI_DEVICE Dim3 grid_extent() {
  return {gridDim.x, gridDim.y, gridDim.z};
}

/// The thread's number in its block, x fastest.
OMNI_DEVICE int thread_rank() {
  return static_cast<int>((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x);
}
/// The thread's number in its warp.
OMNI_DEVICE int lane_index() {
  return thread_rank() % warp_size;
}
/// The warp's number in the block.
OMNI_DEVICE int warp_index() {
  return thread_rank() / warp_size;
}

/// Waits for all threads of the block.
OMNI_DEVICE void barrier() {
  __syncthreads();
}
/// Waits for all threads of the warp.
OMNI_DEVICE void warp_barrier() {
  __syncwarp();
}

/// Carves the dynamic shared memory of a launch into arrays; all threads make the same calls in the same order.
class SharedMemory {
 public:
  /// The next array, uninitialised, at a multiple of 16 bytes.
  template <class T>
  __device__ __forceinline__ T* array(std::size_t count) {
    extern __shared__ __align__(16) unsigned char omniconv_dynamic_shared_memory[];
    T* result = reinterpret_cast<T*>(omniconv_dynamic_shared_memory + offset_);
    offset_ += static_cast<unsigned>(detail::round_up(count * sizeof(T), detail::shared_alignment));
    return result;
  }

 private:
  unsigned offset_ = 0;
};

/// A shared array of N elements, uninitialised. A kernel that asks for several of the same type and size tells
/// them apart by `Tag`, or it would get the same memory twice; the CPU refuses that.
template <class T, int N, int Tag = 0>
OMNI_DEVICE T* shared_array() {
  __shared__ __align__(16) unsigned char storage[N * sizeof(T)];
  return reinterpret_cast<T*>(storage);
}

namespace detail {

inline constexpr unsigned all_lanes = 0xffffffffu;

/// Applies a move between lanes, which the hardware does by 32-bit words, to a value of any size.
template <class T, class Move>
OMNI_DEVICE T move_by_words(T value, Move move) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 16);
  constexpr int words = (sizeof(T) + 3) / 4;
  unsigned word[words] = {};
  memcpy(word, &value, sizeof(T));
#pragma unroll
  for (int i = 0; i < words; ++i) word[i] = move(word[i]);
  memcpy(&value, word, sizeof(T));
  return value;
}

}  // namespace detail

/// The value of lane `source_lane`. All lanes of the warp take part, here and in all that follow.
template <class T>
OMNI_DEVICE T shuffle(T value, int source_lane) {
  return detail::move_by_words(value, [=](unsigned w) { return __shfl_sync(detail::all_lanes, w, source_lane); });
}
/// The value of the lane whose number differs in the bits of `mask`.
template <class T>
OMNI_DEVICE T shuffle_xor(T value, int mask) {
  return detail::move_by_words(value, [=](unsigned w) { return __shfl_xor_sync(detail::all_lanes, w, mask); });
}
/// The value of the lane `delta` above; the last `delta` lanes keep theirs.
template <class T>
OMNI_DEVICE T shuffle_down(T value, int delta) {
  return detail::move_by_words(value, [=](unsigned w) { return __shfl_down_sync(detail::all_lanes, w, delta); });
}
/// The value of the lane `delta` below; the first `delta` lanes keep theirs.
template <class T>
OMNI_DEVICE T shuffle_up(T value, int delta) {
  return detail::move_by_words(value, [=](unsigned w) { return __shfl_up_sync(detail::all_lanes, w, delta); });
}
/// One bit per lane: where the condition holds.
OMNI_DEVICE unsigned ballot(bool condition) {
  return __ballot_sync(detail::all_lanes, condition);
}

namespace detail {

template <class T, class Combine>
OMNI_DEVICE T warp_reduce(T value, Combine combine) {
#pragma unroll
  for (int mask = warp_size / 2; mask > 0; mask /= 2) value = combine(value, shuffle_xor(value, mask));
  return value;
}

template <class T, class Combine>
OMNI_DEVICE T block_reduce(T value, T neutral, Combine combine) {
  __shared__ T partial[warp_size];
  value = warp_reduce(value, combine);
  if (lane_index() == 0) partial[warp_index()] = value;
  barrier();
  const int warps = static_cast<int>(blockDim.x * blockDim.y * blockDim.z) / warp_size;
  value = warp_reduce(lane_index() < warps ? partial[lane_index()] : neutral, combine);
  barrier();  // the next reduction may overwrite the partial results
  return value;
}

}  // namespace detail

/// The sum over the warp, the same bits in all lanes.
template <class T>
OMNI_DEVICE T warp_sum(T value) {
  return detail::warp_reduce(value, detail::Plus{});
}
/// The maximum over the warp; NaN if any value is.
template <class T>
OMNI_DEVICE T warp_max(T value) {
  return detail::warp_reduce(value, detail::Maximum{});
}

/// The sum over a block of whole warps, the same bits in all threads and in every run. Meets the block at barriers.
template <class T>
OMNI_DEVICE T block_sum(T value) {
  return detail::block_reduce(value, T(0), detail::Plus{});
}
/// The maximum over a block of whole warps; NaN if any value is. Meets the block at barriers.
template <class T>
OMNI_DEVICE T block_max(T value) {
  return detail::block_reduce(value, shuffle(value, 0), detail::Maximum{});
}

/// Starts a copy of 4, 8 or 16 bytes into shared memory, both addresses multiples of that; zeros arrive instead
/// where `valid` is false, and `global_source` is not read then. What is in the destination is undefined until
/// copy_wait() of the same thread covers the copy; other threads see it after a barrier behind that.
template <int Bytes>
OMNI_DEVICE void copy_async(void* shared_destination, const void* global_source, bool valid = true) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
  const auto destination = static_cast<unsigned>(__cvta_generic_to_shared(shared_destination));
  const int read = valid ? Bytes : 0;
  if constexpr (Bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination), "l"(global_source), "r"(read)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(destination), "l"(global_source), "n"(Bytes),
                 "r"(read)
                 : "memory");
  }
}
/// Closes the group of the copies this thread has started since the last call.
OMNI_DEVICE void copy_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits until all of this thread's groups but the last `Pending` have arrived.
template <int Pending>
OMNI_DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

}  // namespace omniconv::simt
