// Kernels in phases: no block begins a phase before all blocks have finished the one before it, and a phase reads what
// the former wrote to global memory. On CUDA one cooperative launch whose blocks wait for each other, on the CPU a
// launch for each phase. For .cu files only.
#pragma once

#include <algorithm>

#include "kernels/error.h"
#include "kernels/simt/simt.h"

#if OMNICONV_CUDA
#include <cooperative_groups.h>
#endif

namespace omniconv::simt {

/// Which phases a launch runs; a kernel takes it first, does its work for each phase it has(), and calls next_phase()
/// between them. Nothing that a thread or a block holds outlives a phase.
struct Phases {
  int begin, end;

  OMNI_HOST_DEVICE bool has(int phase) const { return begin <= phase && phase < end; }
};

/// Waits for all blocks where another phase follows `phase` in this launch. All threads of the grid call it.
OMNI_DEVICE void next_phase([[maybe_unused]] Phases phases, [[maybe_unused]] int phase) {
#if OMNICONV_CUDA
  if (phases.has(phase) && phases.has(phase + 1)) cooperative_groups::this_grid().sync();
#endif
}

namespace detail {

#if OMNICONV_CUDA
/// Blocks of a kernel that the current device holds at a time.
unsigned resident_blocks(const void* kernel, unsigned threads, std::size_t shared_bytes);
#else
/// So few that the tests see blocks with several items of work.
inline constexpr unsigned resident_blocks = 16;
#endif

}  // namespace detail

/// Runs `kernel(phases, arguments...)` for the phases 0 .. count - 1 on at most `blocks` blocks of `threads` threads:
/// fewer where the device does not hold as many at a time, so a kernel takes its work in steps of grid_extent().x.
template <class... Parameters>
void launch_phases(void (*kernel)(Phases, Parameters...), int count, std::int64_t blocks, unsigned threads,
                   std::size_t shared_bytes, Stream stream, std::type_identity_t<Parameters>... arguments) {
  detail::check_launch({1}, {threads}, shared_bytes);
  if (blocks == 0) return;
#if OMNICONV_CUDA
  const void* const address = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > 0) detail::allow_shared_bytes(address, shared_bytes);
  cudaLaunchAttribute cooperative = {};
  cooperative.id = cudaLaunchAttributeCooperative;
  cooperative.val.cooperative = 1;
  cudaLaunchConfig_t config = {};
  const std::int64_t resident = detail::resident_blocks(address, threads, shared_bytes);
  expect(resident > 0, "launch", "expected a block that fits on the GPU, got one of ", threads, " threads and ",
         shared_bytes, " bytes of shared memory");
  config.gridDim.x = static_cast<unsigned>(std::min(blocks, resident));
  config.blockDim.x = threads;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream.handle);
  config.attrs = &cooperative;
  config.numAttrs = 1;
  detail::check_launched(cudaLaunchKernelEx(&config, kernel, Phases{0, count}, arguments...), address);
#else
  const auto grid = static_cast<unsigned>(std::min<std::int64_t>(blocks, detail::resident_blocks));
  for (int phase = 0; phase < count; ++phase)
    launch(kernel, {grid}, {threads}, shared_bytes, stream, Phases{phase, phase + 1}, arguments...);
#endif
}

}  // namespace omniconv::simt
