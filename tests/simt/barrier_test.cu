// Threads of a block that wait for each other, and what happens when they do not.
#include <cmath>

#include "tests/simt/device_memory.h"

namespace omniconv::simt::test {
namespace {

using omniconv::test::ContainsSubstring;

constexpr int threads = 128;

// A tree sum in shared memory. Without `with_barriers` it is the classic mistake.
template <class T, bool with_barriers>
OMNI_KERNEL void tree_sum(const T* in, T* out) {
  SharedMemory shared;
  T* const partial = shared.array<T>(threads);
  const int i = thread_rank();
  partial[i] = in[block_index().x * threads + static_cast<unsigned>(i)];
  if (with_barriers) barrier();
  for (int half = threads / 2; half > 0; half /= 2) {
    if (i < half) partial[i] += partial[i + half];
    if (with_barriers) barrier();
  }
  if (i == 0) out[block_index().x] = partial[0];
}

template <class T, bool with_barriers>
std::vector<T> sums_of_blocks(const std::vector<T>& in) {
  const auto blocks = static_cast<unsigned>(in.size() / threads);
  DeviceArray<T> device_in(in), out(blocks);
  launch(tree_sum<T, with_barriers>, {blocks}, {threads}, SharedSize{}.array<T>(threads).bytes(), test_stream,
         device_in.data(), out.data());
  return out.values();
}

template <class T>
void check_tree_sum(unsigned seed) {
  const std::vector<T> in = random_values<T>(threads * 17, seed);
  std::vector<T> expected(17);
  for (std::size_t i = 0; i < in.size(); ++i) expected[i / threads] += in[i];
  CHECK(sums_of_blocks<T, true>(in) == expected);
}

TEST_CASE("a block sum in shared memory equals a loop", ON_DEVICE) {
  const unsigned seed = fresh_seed();
  INFO("seed " << seed);
  check_tree_sum<float>(seed);
  check_tree_sum<double>(seed);
  for (std::uint64_t order = 0; order < 8; ++order) {
    const ThreadOrder shuffled(order);
    check_tree_sum<float>(seed);
  }
}

// Rotates a block's values `rounds` times, two barriers each: many switches, and state that survives them.
OMNI_KERNEL void rotate(int* values, int rounds) {
  int* const shared = shared_array<int, threads>();
  const int i = thread_rank();
  int value = values[i];
  for (int round = 0; round < rounds; ++round) {
    shared[i] = value;
    barrier();
    value = shared[(i + 1) % threads];
    barrier();
  }
  values[i] = value;
}

TEST_CASE("a thread keeps its state over many barriers", ON_DEVICE) {
  std::vector<int> values(threads), expected(threads);
  for (int i = 0; i < threads; ++i) {
    values[i] = i;
    expected[i] = (i + 1001) % threads;
  }
  DeviceArray<int> device(values);
  launch(rotate, {1}, {threads}, 0, test_stream, device.data(), 1001);
  CHECK(device.values() == expected);
}

#if !OMNICONV_CUDA

TEST_CASE("a missing barrier shows as poison or as a difference within eight orders", "[simt]") {
  const std::vector<float> in = random_values<float>(threads, 3);
  const float expected = sums_of_blocks<float, true>(in)[0];
  int caught = 0;
  for (std::uint64_t order = 0; order < 8; ++order) {
    const ThreadOrder shuffled(order);
    const float sum = sums_of_blocks<float, false>(in)[0];
    if (std::isnan(sum) || sum != expected) ++caught;
  }
  CHECK(caught > 0);
}

OMNI_KERNEL void some_leave(int leaver) {
  if (thread_rank() == leaver) return;
  barrier();
}

OMNI_KERNEL void some_leave_later(int leaver) {
  barrier();
  for (int i = 0; i < 3; ++i) {
    if (i == 2 && thread_rank() == leaver) return;
    barrier();
  }
}

TEST_CASE("a barrier that some threads have left is refused", "[simt]") {
  for (auto kernel : {some_leave, some_leave_later}) {
    for (int leaver : {0, 5, threads - 1})
      for (std::optional<std::uint64_t> seed : {std::optional<std::uint64_t>(), std::optional<std::uint64_t>(1)}) {
        const ThreadOrder thread_order(seed);
        const std::string error = error_of([&] { launch(kernel, {3}, {threads}, 0, test_stream, leaver); });
        CHECK_THAT(error, ContainsSubstring("[barrier] expected all 128 threads at barrier_test.cu:") &&
                              ContainsSubstring("got 127; thread " + std::to_string(leaver) + " has returned"));
      }
    CHECK(error_of([&] { launch(kernel, {3}, {threads}, 0, test_stream, -1); }) == "");
  }
}

OMNI_KERNEL void wait_at_two_places(int first_elsewhere) {
  if (thread_rank() < first_elsewhere) {
    barrier();
  } else {
    barrier();
  }
}

TEST_CASE("barriers at different places of the source are refused", "[simt]") {
  const ThreadOrder ascending(std::nullopt);  // or thread 0 need not be the first to come
  for (int first_elsewhere : {1, 64, 127}) {
    const std::string error =
        error_of([&] { launch(wait_at_two_places, {3}, {threads}, 0, test_stream, first_elsewhere); });
    CHECK_THAT(error, ContainsSubstring(
                          "[barrier] expected all threads at the same place, got thread 0 at barrier_test.cu:") &&
                          ContainsSubstring(" and thread " + std::to_string(first_elsewhere) + " at barrier_test.cu:"));
  }
  CHECK(error_of([] { launch(wait_at_two_places, {3}, {threads}, 0, test_stream, 0); }) == "");
  CHECK(error_of([] { launch(wait_at_two_places, {3}, {threads}, 0, test_stream, threads); }) == "");
}

OMNI_KERNEL void wait_in_reduction_and_barrier() {
  if (thread_rank() == 7) {
    barrier();
  } else {
    block_sum(1.0f);
  }
}

TEST_CASE("a barrier does not stand in for one inside a block sum", "[simt]") {
  CHECK_THAT(error_of([] { launch(wait_in_reduction_and_barrier, {1}, {threads}, 0, test_stream); }),
             ContainsSubstring("expected all threads at the same place"));
}

#endif

}  // namespace
}  // namespace omniconv::simt::test
