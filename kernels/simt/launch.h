// Starting a kernel.
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>
#include <type_traits>

#include "kernels/simt/config.h"
#include "kernels/simt/stream.h"

#if OMNICONV_CUDA
#include <cuda_runtime.h>
#else
#include "kernels/simt/block.h"
#include "kernels/simt/recording.h"
#endif

namespace omniconv::simt {

namespace detail {

/// Throws unless every device would take such a launch.
void check_launch(Dim3 grid, Dim3 block, std::size_t shared_bytes);

#if OMNICONV_CUDA
/// Lets the kernel have that much dynamic shared memory, which beyond 48 KiB in all has to be asked for.
void allow_shared_bytes(const void* kernel, std::size_t shared_bytes);
/// Throws Error with CUDA's text unless all is well.
void check_cuda(cudaError_t status, const char* where);
/// The same for a launch, naming the kernel; the fault may be that of one launched before.
void check_launched(cudaError_t status, const void* kernel);
#else
void run_blocks(const Launch& launch);
#endif

}  // namespace detail

/// Bytes of shared memory that a block may take on the device of the build: of the current GPU, or Hopper's.
std::size_t shared_bytes_limit();

/// On the CPU: start and resume the threads of each block in an order that depends on the seed, or without one in
/// the order of their numbers. Overrides the environment variable OMNICONV_SIMT_SHUFFLE. On CUDA: does nothing.
void set_thread_order_seed(std::optional<std::uint64_t> seed);

/// Runs `kernel(arguments...)` in every thread of a grid of blocks; a grid with an empty extent does nothing.
/// On CUDA it returns once the work is queued; on the CPU once it is done, throwing what a thread threw, or, in a
/// Recording, once it is kept.
template <class... Parameters>
void launch(void (*kernel)(Parameters...), Dim3 grid, Dim3 block, std::size_t shared_bytes, Stream stream,
            std::type_identity_t<Parameters>... arguments) {
  detail::check_launch(grid, block, shared_bytes);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#if OMNICONV_CUDA
  const void* const address = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > 0) detail::allow_shared_bytes(address, shared_bytes);
  cudaLaunchConfig_t config = {};
  config.gridDim = {grid.x, grid.y, grid.z};
  config.blockDim = {block.x, block.y, block.z};
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream.handle);
  detail::check_launched(cudaLaunchKernelEx(&config, kernel, arguments...), address);
#else
  if (Recording* const recording = Recording::in_progress())
    return recording->add([=] { launch(kernel, grid, block, shared_bytes, stream, arguments...); });
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
  };
  const Call call{kernel, std::tuple<Parameters...>(arguments...)};
  detail::run_blocks({grid, block, shared_bytes,
                      [](const void* erased) {
                        const Call& c = *static_cast<const Call*>(erased);
                        std::apply(c.kernel, c.arguments);
                      },
                      &call});
#endif
}

}  // namespace omniconv::simt
