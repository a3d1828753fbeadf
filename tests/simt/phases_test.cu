// Kernels in phases: what all blocks wrote in one is there for every block in the next.
#include "kernels/simt/phases.h"

#include "tests/simt/device_memory.h"

namespace omniconv::simt::test {
namespace {

/// values[i] = i, then sums[i] = the sum of the n values from i on, around the end; so often as there are rounds.
OMNI_KERNEL void sum_neighbours(Phases phases, int n, int* values, int* sums) {
  if (phases.has(0))
    for (unsigned i = block_index().x; i < static_cast<unsigned>(n); i += grid_extent().x)
      if (thread_rank() == 0) values[i] = static_cast<int>(i);
  next_phase(phases, 0);
  if (phases.has(1))
    for (unsigned i = block_index().x; i < static_cast<unsigned>(n); i += grid_extent().x)
      if (thread_rank() == 0)
        for (int k = 0; k < n; ++k) sums[i] += values[(static_cast<int>(i) + k) % n];
  next_phase(phases, 1);
  if (phases.has(2))
    for (unsigned i = block_index().x; i < static_cast<unsigned>(n); i += grid_extent().x)
      if (thread_rank() == 0) values[i] = sums[n - 1 - static_cast<int>(i)] - sums[i];
}

TEST_CASE("a phase reads what every block wrote in the phase before", ON_DEVICE) {
  for (const int n : {1, 5, 1000, 5000}) {
    CAPTURE(n);
    DeviceArray<int> values(std::vector<int>(static_cast<std::size_t>(n), -1));
    DeviceArray<int> sums(std::vector<int>(static_cast<std::size_t>(n), 7));
    launch_phases(sum_neighbours, 3, n, 32, 0, test_stream, n, values.data(), sums.data());
    CHECK(sums.values() == std::vector<int>(static_cast<std::size_t>(n), 7 + n * (n - 1) / 2));
    CHECK(values.values() == std::vector<int>(static_cast<std::size_t>(n), 0));
  }
}

TEST_CASE("a kernel in phases is checked like others, and without blocks is none", ON_DEVICE) {
  DeviceArray<int> values(std::vector<int>{3});
  CHECK(error_of([&] { launch_phases(sum_neighbours, 3, 1, 2048, 0, test_stream, 1, values.data(), values.data()); }) ==
        "[launch] expected at most 1024 threads per block, got 2048");
  launch_phases(sum_neighbours, 3, 0, 32, 0, test_stream, 1, values.data(), values.data());
  CHECK(values.values() == std::vector<int>{3});
}

}  // namespace
}  // namespace omniconv::simt::test
