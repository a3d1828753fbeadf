// Starting kernels: every thread runs once with its indices, impossible launches are refused, failures come back.
#include <omp.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>
#include <tuple>

#include "tests/simt/device_memory.h"

namespace omniconv::simt::test {
namespace {

template <class T>
OMNI_KERNEL void saxpy(std::int64_t n, T a, const T* x, T* y) {
  const std::int64_t i = std::int64_t{block_index().x} * block_extent().x + thread_index().x;
  if (i < n) y[i] += a * x[i];
}

template <class T>
void check_saxpy(std::int64_t n, unsigned threads, unsigned seed) {
  const std::vector<T> x = random_values<T>(n, seed), y = random_values<T>(n, seed + 1);
  DeviceArray<T> device_x(x), device_y(y);
  // The arguments are converted to the kernel's parameters: n from unsigned long, a from int.
  launch(saxpy<T>, blocks_for(n, threads), {threads}, 0, test_stream, x.size(), 3, device_x.data(), device_y.data());
  std::vector<T> expected = y;
  for (std::int64_t i = 0; i < n; ++i) expected[i] += 3 * x[i];
  INFO("n " << n << ", threads " << threads);
  CHECK(device_y.values() == expected);
}

TEST_CASE("a launched saxpy equals a loop", ON_DEVICE) {
  const unsigned seed = fresh_seed();
  INFO("seed " << seed);
  for (std::int64_t n : {1, 31, 32, 1000, 100'003})
    for (unsigned threads : {1u, 32u, 33u, 256u, 1024u}) {
      check_saxpy<float>(n, threads, seed);
      check_saxpy<double>(n, threads, seed);
    }
}

// One visit per thread, at its own place, with all that the thread knows of itself.
OMNI_KERNEL void visit(int* visits, int* ranks, int* lanes, int* warps) {
  const Dim3 t = thread_index(), b = block_index(), threads = block_extent(), blocks = grid_extent();
  const unsigned block = (b.z * blocks.y + b.y) * blocks.x + b.x;
  const unsigned thread = (t.z * threads.y + t.y) * threads.x + t.x;
  const unsigned i = block * threads.x * threads.y * threads.z + thread;
  visits[i] += 1;
  ranks[i] = thread_rank();
  lanes[i] = lane_index();
  warps[i] = warp_index();
}

TEST_CASE("every thread of a 3-D grid of 3-D blocks runs once", ON_DEVICE) {
  using Extents = std::pair<Dim3, Dim3>;
  for (const auto& [grid, block] : {Extents{{3, 2, 4}, {5, 3, 7}}, Extents{{1, 1, 1}, {1, 1, 1}},
                                    Extents{{7, 1, 3}, {2, 32, 4}}, Extents{{1, 5, 1}, {4, 4, 64}}}) {
    const int threads = static_cast<int>(block.x * block.y * block.z);
    const int n = threads * static_cast<int>(grid.x * grid.y * grid.z);
    DeviceArray<int> visits(n), ranks(n, -1), lanes(n, -1), warps(n, -1);
    launch(visit, grid, block, 0, test_stream, visits.data(), ranks.data(), lanes.data(), warps.data());
    std::vector<int> expected_ranks(n), expected_lanes(n), expected_warps(n);
    for (int i = 0; i < n; ++i) {
      expected_ranks[i] = i % threads;
      expected_lanes[i] = i % threads % 32;
      expected_warps[i] = i % threads / 32;
    }
    CHECK(visits.values() == std::vector<int>(n, 1));
    CHECK(ranks.values() == expected_ranks);
    CHECK(lanes.values() == expected_lanes);
    CHECK(warps.values() == expected_warps);
  }
}

OMNI_KERNEL void set_to_one(int* out) {
  *out = 1;
}

TEST_CASE("an empty grid does nothing", ON_DEVICE) {
  DeviceArray<int> out(1);
  for (Dim3 grid : {Dim3{0, 1, 1}, Dim3{1, 0, 1}, Dim3{1, 1, 0}, Dim3{0, 0, 0}})
    launch(set_to_one, grid, {32}, 0, test_stream, out.data());
  CHECK(out.values()[0] == 0);
  launch(set_to_one, {1}, {1}, 0, test_stream, out.data());
  CHECK(out.values()[0] == 1);
}

TEST_CASE("a launch no GPU would take is refused", "[simt]") {
  using Catch::Matchers::Equals;
  const auto error = [](Dim3 grid, Dim3 block, std::size_t shared_bytes) {
    return error_of([=] { launch(set_to_one, grid, block, shared_bytes, test_stream, nullptr); });
  };
  CHECK_THAT(error({1}, {2048}, 0), Equals("[launch] expected at most 1024 threads per block, got 2048"));
  CHECK_THAT(error({1}, {32, 33}, 0), Equals("[launch] expected at most 1024 threads per block, got 1056"));
  CHECK_THAT(error({1}, {65536, 65536, 1}, 0),
             Equals("[launch] expected at most 1024 threads per block, got 4294967296"));
  CHECK_THAT(error({1}, {1, 1, 65}, 0),
             Equals("[launch] expected at most 64 threads along z in a block, got a block of (1, 1, 65)"));
  CHECK_THAT(error({1}, {1, 0, 1}, 0), Equals("[launch] expected at least one thread per block, got (1, 0, 1)"));
  CHECK_THAT(error({1, 65536}, {32}, 0),
             Equals("[launch] expected a grid of at most (2147483647, 65535, 65535) blocks, got (1, 65536, 1)"));
  CHECK_THAT(error({1, 1, 65536}, {32}, 0),
             Equals("[launch] expected a grid of at most (2147483647, 65535, 65535) blocks, got (1, 1, 65536)"));
  CHECK_THAT(error({1}, {32}, 232449),
             Equals("[launch] expected at most 232448 bytes of shared memory per block, got 232449"));
}

#if OMNICONV_CUDA

TEST_CASE("what CUDA refuses comes back with its text", ON_DEVICE) {
  cudaStream_t stream = nullptr;
  detail::check_cuda(cudaStreamCreate(&stream), "test");
  detail::check_cuda(cudaStreamDestroy(stream), "test");
  CHECK_THAT(error_of([] { detail::check_cuda(cudaErrorInvalidConfiguration, "launch"); }),
             Catch::Matchers::Equals("[launch] CUDA: invalid configuration argument"));
  const auto* const kernel = reinterpret_cast<const void*>(&set_to_one);
  CHECK_THAT(error_of([=] { detail::check_launched(cudaErrorInvalidConfiguration, kernel); }),
             omniconv::test::ContainsSubstring(": CUDA: invalid configuration argument"));
}

#else

// The objects on the stacks of the kernel below that live.
std::atomic<int> alive = 0;

struct Witness {
  Witness() { ++alive; }
  ~Witness() { --alive; }
  std::vector<int> memory = std::vector<int>(100);  // a leak if nobody unwinds the stack
};

// Two threads throw, after a barrier that all have met; the others go on to wait for them.
OMNI_KERNEL void throw_in_threads(int first, int second) {
  const Witness before;
  barrier();
  const Witness after;
  if (thread_rank() == first || thread_rank() == second)
    throw std::runtime_error("thread " + std::to_string(thread_rank()) + " of block " +
                             std::to_string(block_index().x));
  barrier();
}

TEST_CASE("an exception in a thread comes out of launch, and the layer still works", "[simt]") {
  for (int order = -1; order < 4; ++order) {
    std::optional<ThreadOrder> shuffled;
    if (order >= 0) shuffled.emplace(static_cast<std::uint64_t>(order));
    for (unsigned blocks : {1u, 50u}) {
      CHECK_THROWS_WITH(launch(throw_in_threads, {blocks}, {96}, 0, test_stream, 70, 40), "thread 40 of block 0");
      CHECK(alive == 0);
      check_saxpy<float>(1000, 64, 1);
    }
  }
  for (int thread : {0, 95})
    CHECK_THROWS_WITH(launch(throw_in_threads, {1}, {96}, 0, test_stream, thread, -1),
                      "thread " + std::to_string(thread) + " of block 0");
  launch(throw_in_threads, {50}, {96}, 0, test_stream, -1, -1);
  CHECK(alive == 0);
}

// The block before the first that fails takes its time, so that later ones fail earlier.
OMNI_KERNEL void throw_in_block(unsigned block) {
  if (block_index().x >= block) fail("kernel", "block ", block_index().x, " failed");
  if (block_index().x == block - 1 && thread_rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

TEST_CASE("of several blocks that fail, launch reports the first", "[simt]") {
  for (int repeat = 0; repeat < 10; ++repeat)
    CHECK_THROWS_WITH(launch(throw_in_block, {100}, {8}, 0, test_stream, 40), "[kernel] block 40 failed");
}

OMNI_KERNEL void launch_inside() {
  launch(set_to_one, {1}, {1}, 0, test_stream, nullptr);
}

TEST_CASE("a kernel that launches a kernel is refused", "[simt]") {
  CHECK_THROWS_WITH(launch(launch_inside, {1}, {1}, 0, test_stream),
                    "[launch] expected to be called by the host, got a call from inside a kernel");
}

template <class T>
OMNI_KERNEL void sum_of_blocks(const T* in, T* out) {
  const T sum = block_sum(in[block_index().x * block_extent().x + thread_index().x]);
  if (thread_rank() == 0) out[block_index().x] = sum;
}

TEST_CASE("several OpenMP threads may launch at a time", "[simt]") {
  constexpr int launchers = 4, blocks = 20, threads = 64;
  std::atomic<int> wrong = 0, caught = 0;
#pragma omp parallel for num_threads(launchers)
  for (int launcher = 0; launcher < 4 * launchers; ++launcher) {
    std::vector<float> in(blocks * threads, static_cast<float>(launcher)), out(blocks);
    launch(sum_of_blocks<float>, {blocks}, {threads}, 0, test_stream, in.data(), out.data());
    if (out != std::vector<float>(blocks, static_cast<float>(launcher * threads))) ++wrong;
    try {
      launch(throw_in_block, {blocks}, {8}, 0, test_stream, static_cast<unsigned>(launcher));
    } catch (const Error&) {
      ++caught;
    }
  }
  CHECK(wrong == 0);
  CHECK(caught == 4 * launchers);
}

OMNI_KERNEL void note_order(int* order, int* count) {
  order[(*count)++] = thread_rank();
}

TEST_CASE("a seed shuffles the order of threads, the same way each time", "[simt]") {
  const auto order_of = [](unsigned threads) {
    std::vector<int> order(threads, -1);
    int count = 0;
    launch(note_order, {1}, {threads}, 0, test_stream, order.data(), &count);
    return order;
  };
  std::vector<int> ascending(64);
  for (int i = 0; i < 64; ++i) ascending[i] = i;
  std::set<std::vector<int> > orders;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const ThreadOrder shuffled(seed);
    const std::vector<int> order = order_of(64);
    CHECK(order_of(64) == order);
    CHECK(std::is_permutation(order.begin(), order.end(), ascending.begin()));
    order_of(1024);  // longer than what the last check below resets
    CHECK(order != ascending);
    orders.insert(order);
  }
  CHECK(orders.size() == 8);
  const ThreadOrder unshuffled(std::nullopt);
  CHECK(order_of(64) == ascending);
}

#endif

}  // namespace
}  // namespace omniconv::simt::test
