#include "kernels/simt/launch.h"

#include "kernels/error.h"

#if OMNICONV_CUDA
#include <cxxabi.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#else
#include <omp.h>

#include <algorithm>
#include <atomic>

#include "kernels/simt/first_failure.h"
#endif

namespace omniconv::simt {
namespace detail {
namespace {

// Saturates, since the product of three extents can exceed 64 bits.
std::uint64_t volume(Dim3 extent) {
  const std::uint64_t area = std::uint64_t{extent.x} * extent.y;
  return area != 0 && extent.z > UINT64_MAX / area ? UINT64_MAX : area * extent.z;
}

std::string text(Dim3 extent) {
  return concat('(', extent.x, ", ", extent.y, ", ", extent.z, ')');
}

}  // namespace

void check_launch(Dim3 grid, Dim3 block, std::size_t shared_bytes) {
  expect(volume(block) <= max_block_threads, "launch", "expected at most ", max_block_threads,
         " threads per block, got ", volume(block));
  expect(block.z <= 64, "launch", "expected at most 64 threads along z in a block, got a block of ", text(block));
  expect(volume(block) > 0, "launch", "expected at least one thread per block, got ", text(block));
  expect(grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535, "launch",
         "expected a grid of at most (2147483647, 65535, 65535) blocks, got ", text(grid));
  expect(shared_bytes <= max_shared_bytes, "launch", "expected at most ", max_shared_bytes,
         " bytes of shared memory per block, got ", shared_bytes);
}

#if OMNICONV_CUDA

namespace {

std::string name_of(const void* kernel) {
  const char* name = nullptr;
#if CUDART_VERSION >= 12030
  if (cudaFuncGetName(&name, kernel) != cudaSuccess) cudaGetLastError();
#endif
  if (name == nullptr) return "a kernel";
  const std::unique_ptr<char, decltype(&std::free)> readable(abi::__cxa_demangle(name, nullptr, nullptr, nullptr),
                                                             &std::free);
  return readable ? readable.get() : name;
}

}  // namespace

void check_cuda(cudaError_t status, const char* where) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next call that asks would report this error again
  fail(where, "CUDA: ", cudaGetErrorString(status));
}

void check_launched(cudaError_t status, const void* kernel) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  fail("launch", name_of(kernel), ": CUDA: ", cudaGetErrorString(status));
}

void allow_shared_bytes(const void* kernel, std::size_t shared_bytes) {
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, std::size_t> allowed;  // by device and kernel
  int device = 0;
  check_cuda(cudaGetDevice(&device), "launch");
  const std::lock_guard lock(mutex);
  const auto [place, is_new] = allowed.try_emplace({device, kernel}, 0);
  if (is_new) {
    cudaFuncAttributes attributes = {};
    check_cuda(cudaFuncGetAttributes(&attributes, kernel), "launch");
    place->second = static_cast<std::size_t>(attributes.maxDynamicSharedSizeBytes);
  }
  if (shared_bytes <= place->second) return;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
             "launch");
  place->second = shared_bytes;
}

namespace {

unsigned processors_of(int device) {
  int processors = 0;
  check_cuda(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "launch");
  return static_cast<unsigned>(processors);
}

}  // namespace

unsigned blocks_to_fill_device() {
  static std::mutex mutex;
  static std::map<int, unsigned> blocks;
  int device = 0;
  check_cuda(cudaGetDevice(&device), "launch");
  const std::lock_guard lock(mutex);
  const auto [place, is_new] = blocks.try_emplace(device, 0u);
  if (is_new || place->second == 0) place->second = processors_of(device) * 32;
  return place->second;
}

unsigned resident_blocks(const void* kernel, unsigned threads, std::size_t shared_bytes) {
  static std::mutex mutex;
  static std::map<std::tuple<int, const void*, unsigned, std::size_t>, unsigned> blocks;
  int device = 0;
  check_cuda(cudaGetDevice(&device), "launch");
  const std::lock_guard lock(mutex);
  const auto [place, is_new] = blocks.try_emplace({device, kernel, threads, shared_bytes}, 0u);
  if (is_new || place->second == 0) {
    int of_a_processor = 0;
    check_cuda(
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&of_a_processor, kernel, static_cast<int>(threads), shared_bytes),
        "launch");
    place->second = static_cast<unsigned>(of_a_processor) * processors_of(device);
  }
  return place->second;
}

#else

namespace {

// Below so many threads in all, opening a parallel region costs more than it gains, whatever the threads do.
constexpr std::int64_t parallel_threads = 64;

}  // namespace

void run_blocks(const Launch& launch) {
  expect(current_thread == nullptr, "launch", "expected to be called by the host, got a call from inside a kernel");
  const auto blocks = static_cast<std::int64_t>(volume(launch.grid));
  const auto threads = static_cast<std::int64_t>(volume(launch.block));
  if (blocks == 1 || blocks <= parallel_threads / threads || omp_in_parallel()) {
    Block& block = Block::of_this_thread();
    for (std::int64_t number = 0; number < blocks; ++number) block.run(launch, number);
    return;
  }
  FirstFailure failure;
  std::atomic<std::int64_t> next = 0;
#pragma omp parallel
  {
    // Several blocks at a time, so that the counter is no bottleneck, but enough portions to even out.
    const std::int64_t portion = std::max<std::int64_t>(1, blocks / (16 * omp_get_num_threads()));
    for (;;) {
      const std::int64_t begin = next.fetch_add(portion, std::memory_order_relaxed);
      if (begin >= blocks) break;
      const std::int64_t end = std::min(blocks, begin + portion);
      for (std::int64_t number = begin; number < end; ++number) {
        if (failure.is_before(number)) break;
        try {
          Block::of_this_thread().run(launch, number);
        } catch (...) {
          failure.record(number);
        }
      }
    }
  }
  failure.rethrow();
}

#endif

}  // namespace detail

#if OMNICONV_CUDA
void set_thread_order_seed(std::optional<std::uint64_t>) {}
#endif

std::size_t shared_bytes_limit() {
#if OMNICONV_CUDA
  int device = 0, bytes = 0;
  detail::check_cuda(cudaGetDevice(&device), "launch");
  detail::check_cuda(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "launch");
  return static_cast<std::size_t>(bytes);
#else
  return max_shared_bytes;
#endif
}

}  // namespace omniconv::simt
