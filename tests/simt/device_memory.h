// What the tests of the SIMT layer share: Catch2, and memory that a kernel can use on either device.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <algorithm>
#include <cstdint>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "kernels/simt/simt.h"
#include "kernels/simt/stream.h"

// Tests that need the device of the build.
#if OMNICONV_CUDA
#define ON_DEVICE "[simt][cuda]"
#else
#define ON_DEVICE "[simt]"
#endif

namespace omniconv::simt::test {

/// CUDA's default stream, with which the copies of DeviceArray wait.
inline constexpr Stream test_stream(nullptr);

/// An array in device memory, aligned for every vector.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : count_(values.size()) {
#if OMNICONV_CUDA
    detail::check_cuda(cudaMalloc(&data_, bytes() + 1), "test");
    detail::check_cuda(cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice), "test");
#else
    data_ = static_cast<T*>(::operator new (bytes(), std::align_val_t{64}));
    std::copy(values.begin(), values.end(), data_);
#endif
  }
  explicit DeviceArray(std::size_t count, T value = T{}) : DeviceArray(std::vector<T>(count, value)) {}
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() {
#if OMNICONV_CUDA
    cudaFree(data_);
#else
    ::operator delete (data_, std::align_val_t{64});
#endif
  }

  T* data() {
    return data_;
  }

  /// The values, once all work that was started is done.
  std::vector<T> values() const {
    std::vector<T> result(count_);
#if OMNICONV_CUDA
    detail::check_cuda(cudaDeviceSynchronize(), "test");
    detail::check_cuda(cudaMemcpy(result.data(), data_, bytes(), cudaMemcpyDeviceToHost), "test");
#else
    std::copy(data_, data_ + count_, result.begin());
#endif
    return result;
  }

 private:
  std::size_t bytes() const {
    return count_ * sizeof(T);
  }

  std::size_t count_;
  T* data_ = nullptr;
};

/// Whole numbers from -8 to 8, whose sums are exact in every order.
template <class T>
std::vector<T> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<T> values(count);
  for (T& value : values) value = static_cast<T>(static_cast<int>(random() % 17) - 8);
  return values;
}

/// A seed of today's; a test that uses it says it with INFO.
inline unsigned fresh_seed() {
  return std::random_device{}();
}

/// Threads in an order of its own while it lives: shuffled by a seed, or ascending without one.
class ThreadOrder {
 public:
  explicit ThreadOrder(std::optional<std::uint64_t> seed) { set_thread_order_seed(seed); }
  ThreadOrder(const ThreadOrder&) = delete;
  ThreadOrder& operator=(const ThreadOrder&) = delete;
  ~ThreadOrder() { set_thread_order_seed(before_); }

 private:
#if OMNICONV_CUDA
  std::optional<std::uint64_t> before_;
#else
  std::optional<std::uint64_t> before_ = detail::thread_order_seed();
#endif
};

/// The text of the Error that `work` throws; empty if it throws none.
template <class Work>
std::string error_of(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

/// Blocks of `threads` that cover n.
inline Dim3 blocks_for(std::int64_t n, unsigned threads) {
  return {static_cast<unsigned>((n + threads - 1) / threads)};
}

}  // namespace omniconv::simt::test
