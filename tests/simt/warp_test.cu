// Operations within a warp, and the reductions of a block, against plain loops.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/simt/device_memory.h"

namespace omniconv::simt::test {
namespace {

using omniconv::test::ContainsSubstring;

constexpr int warps = 3;
constexpr int threads = warps * warp_size;

template <class T>
OMNI_KERNEL void shuffle_all(const T* in, T* out, int amount) {
  const int i = thread_rank();
  const T value = in[i];
  out[0 * threads + i] = shuffle(value, amount);
  out[1 * threads + i] = shuffle(value, (lane_index() * 5 + 3) % warp_size);
  out[2 * threads + i] = shuffle_xor(value, amount);
  out[3 * threads + i] = shuffle_down(value, amount);
  out[4 * threads + i] = shuffle_up(value, amount);
}

struct Pair {
  double a;
  std::int32_t b;
  std::int32_t c;

  friend bool operator==(const Pair&, const Pair&) = default;
};

template <class T, class Make>
void check_shuffles(Make make) {
  std::vector<T> in(threads);
  for (int i = 0; i < threads; ++i) in[i] = make(i);
  DeviceArray<T> device_in(in);
  for (int amount : {0, 1, 2, 5, 16, 31}) {
    DeviceArray<T> device_out(5 * threads);
    launch(shuffle_all<T>, {1}, {threads}, 0, test_stream, device_in.data(), device_out.data(), amount);
    const std::vector<T> out = device_out.values();
    bool equal = true;
    for (int i = 0; i < threads; ++i) {
      const int lane = i % warp_size;
      const T* warp = &in[i - lane];
      equal = equal && out[i] == warp[amount];
      equal = equal && out[threads + i] == warp[(lane * 5 + 3) % warp_size];
      equal = equal && out[2 * threads + i] == warp[lane ^ amount];
      equal = equal && out[3 * threads + i] == warp[lane + amount < warp_size ? lane + amount : lane];
      equal = equal && out[4 * threads + i] == warp[lane - amount >= 0 ? lane - amount : lane];
    }
    INFO("amount " << amount << ", " << sizeof(T) << " bytes");
    CHECK(equal);
  }
}

template <class T>
OMNI_KERNEL void reduce_all(const T* in, T* sums, T* maxima, T* block_sums, T* block_maxima, unsigned* ballots) {
  const auto i = block_index().x * block_extent().x + static_cast<unsigned>(thread_rank());
  const T value = in[i];
  sums[i] = warp_sum(value);
  maxima[i] = warp_max(value);
  block_sums[i] = block_sum(value);
  block_maxima[i] = block_max(value);
  warp_barrier();
  ballots[i] = ballot(value > T(0));
}

template <class T>
void check_reductions(int block_threads, int blocks, unsigned seed) {
  const int n = block_threads * blocks;
  const std::vector<T> in = random_values<T>(n, seed);
  DeviceArray<T> device_in(in), sums(n), maxima(n), block_sums(n), block_maxima(n);
  DeviceArray<unsigned> ballots(n);
  launch(reduce_all<T>, {static_cast<unsigned>(blocks)}, {static_cast<unsigned>(block_threads)}, 0, test_stream,
         device_in.data(), sums.data(), maxima.data(), block_sums.data(), block_maxima.data(), ballots.data());
  std::vector<T> expected_sums(n), expected_maxima(n), expected_block_sums(n), expected_block_maxima(n);
  std::vector<unsigned> expected_ballots(n);
  for (int i = 0; i < n; ++i) {
    const int warp = i / warp_size * warp_size, block = i / block_threads * block_threads;
    for (int j = warp; j < warp + warp_size; ++j) {
      expected_sums[i] += in[j];
      expected_maxima[i] = j == warp ? in[j] : std::max(expected_maxima[i], in[j]);
      expected_ballots[i] |= unsigned{in[j] > T(0)} << (j - warp);
    }
    for (int j = block; j < block + block_threads; ++j) {
      expected_block_sums[i] += in[j];
      expected_block_maxima[i] = j == block ? in[j] : std::max(expected_block_maxima[i], in[j]);
    }
  }
  CHECK(sums.values() == expected_sums);
  CHECK(maxima.values() == expected_maxima);
  CHECK(block_sums.values() == expected_block_sums);
  CHECK(block_maxima.values() == expected_block_maxima);
  CHECK(ballots.values() == expected_ballots);
}

template <class T>
OMNI_KERNEL void block_sum_kernel(const T* in, T* out) {
  out[thread_rank()] = block_sum(in[thread_rank()]);
}

TEST_CASE("shuffles move values of every size between the lanes of a warp", ON_DEVICE) {
  check_shuffles<std::uint16_t>([](int i) { return static_cast<std::uint16_t>(i * 7); });
  check_shuffles<float>([](int i) { return static_cast<float>(i) * 0.5f; });
  check_shuffles<double>([](int i) { return i * 0.1; });
  check_shuffles<Pair>([](int i) { return Pair{i * 0.3, i, -i}; });
}

TEST_CASE("warp and block reductions equal a loop", ON_DEVICE) {
  const unsigned seed = fresh_seed();
  INFO("seed " << seed);
  for (int block_threads : {32, 96, 256, 1024}) {
    check_reductions<float>(block_threads, 3, seed);
    check_reductions<double>(block_threads, 2, seed);
    check_reductions<int>(block_threads, 2, seed);
  }
#if !OMNICONV_CUDA
  for (unsigned order = 0; order < 4; ++order) {
    const ThreadOrder shuffled(order);
    check_reductions<float>(160, 3, seed);
  }
#endif
}

TEST_CASE("a maximum does not lose a NaN", ON_DEVICE) {
  for (int place : {0, 7, 31, 95}) {
    std::vector<float> in(threads, 1.0f);
    in[place] = std::numeric_limits<float>::quiet_NaN();
    DeviceArray<float> device_in(in), sums(threads), maxima(threads), block_sums(threads), block_maxima(threads);
    DeviceArray<unsigned> ballots(threads);
    launch(reduce_all<float>, {1}, {threads}, 0, test_stream, device_in.data(), sums.data(), maxima.data(),
           block_sums.data(), block_maxima.data(), ballots.data());
    const std::vector<float> warp_maxima = maxima.values(), all_maxima = block_maxima.values();
    for (int i = 0; i < threads; ++i) {
      REQUIRE(std::isnan(warp_maxima[i]) == (i / warp_size == place / warp_size));
      REQUIRE(std::isnan(all_maxima[i]));
    }
  }
}

TEST_CASE("a block sum gives all threads the same bits, whatever their order", ON_DEVICE) {
  std::mt19937 random(11);
  std::vector<float> in(512);
  for (float& value : in) value = std::uniform_real_distribution<float>(-1, 1)(random);
  DeviceArray<float> device_in(in);
  std::vector<float> first;
  for (unsigned order = 0; order < 5; ++order) {
    const ThreadOrder shuffled(order);
    DeviceArray<float> out(512);
    launch(block_sum_kernel<float>, {1}, {512}, 0, test_stream, device_in.data(), out.data());
    const std::vector<float> sums = out.values();
    REQUIRE(std::count(sums.begin(), sums.end(), sums[0]) == 512);
    if (first.empty()) first = sums;
    REQUIRE(sums == first);
  }
}

template <class T>
OMNI_KERNEL void ragged(const T* in, T* out, unsigned* ballots) {
  const int i = thread_rank();
  out[i] = shuffle(in[i], 2);
  ballots[i] = ballot(in[i] > T(0));
}

TEST_CASE("a ragged last warp works on the lanes it has", ON_DEVICE) {
  constexpr int ragged_threads = 37;
  const std::vector<float> in = random_values<float>(ragged_threads, 5);
  DeviceArray<float> device_in(in), out(ragged_threads);
  DeviceArray<unsigned> ballots(ragged_threads);
  launch(ragged<float>, {1}, {ragged_threads}, 0, test_stream, device_in.data(), out.data(), ballots.data());
  unsigned expected[2] = {};
  for (int i = 0; i < ragged_threads; ++i) expected[i / 32] |= unsigned{in[i] > 0} << (i % 32);
  const auto moved = out.values();
  const auto bits = ballots.values();
  for (int i = 0; i < ragged_threads; ++i) {
    CHECK(moved[i] == in[i / 32 * 32 + 2]);
    CHECK(bits[i] == expected[i / 32]);
  }
}

#if !OMNICONV_CUDA

OMNI_KERNEL void read_lane_of(int source) {
  shuffle(1.0f, source);
}

OMNI_KERNEL void sum_of_warp(float* out) {
  out[thread_rank()] = warp_sum(1.0f);
}

OMNI_KERNEL void lane_leaves_shuffle(int leaver) {
  if (thread_rank() != leaver) shuffle(1.0f, 0);
}

OMNI_KERNEL void lane_waits_elsewhere() {
  if (lane_index() == 3) {
    barrier();
  } else {
    shuffle_xor(1.0f, 1);
  }
}

OMNI_KERNEL void lanes_shuffle_at_two_places() {
  if (lane_index() < 16) {
    shuffle_down(1.0f, 1);
  } else {
    shuffle_down(2.0f, 1);
  }
}

TEST_CASE("a warp operation refuses what is undefined on a GPU", "[simt]") {
  const auto error = [](auto kernel, unsigned block, auto... arguments) {
    return error_of([=] { launch(kernel, {1}, {block}, 0, test_stream, arguments...); });
  };
  // Lanes that the ragged last warp does not have.
  CHECK(error(read_lane_of, 37, 4) == "");
  CHECK_THAT(error(read_lane_of, 37, 5),
             ContainsSubstring("[shuffle] expected to read lanes of a warp of 5 threads, got lane 5"));
  DeviceArray<float> out(64);
  CHECK(error(sum_of_warp, 64, out.data()) == "");
  CHECK_THAT(error(sum_of_warp, 40, out.data()),
             ContainsSubstring("[warp_sum] expected to read lanes of a warp of 8 threads"));
  CHECK_THAT(error(block_sum_kernel<float>, 40, static_cast<const float*>(out.data()), out.data()),
             ContainsSubstring("[block_sum] expected a block of a multiple of 32 threads, got 40"));
  // Lanes that do not come, or to elsewhere.
  for (int leaver : {0, 31, 35})
    CHECK_THAT(error(lane_leaves_shuffle, 64, leaver),
               ContainsSubstring("[shuffle] expected all lanes of warp") && ContainsSubstring("that has returned"));
  CHECK_THAT(error(lane_waits_elsewhere, 32),
             ContainsSubstring("[shuffle_xor] expected all lanes of warp 0 at warp_test.cu:") &&
                 ContainsSubstring("got lane 3 waiting at the barrier at warp_test.cu:"));
  const ThreadOrder ascending(std::nullopt);  // or thread 0 need not be the first to come
  CHECK_THAT(
      error(lanes_shuffle_at_two_places, 32),
      ContainsSubstring("[shuffle_down] expected all threads at the same place, got thread 0 at warp_test.cu:") &&
          ContainsSubstring("and thread 16 at warp_test.cu:"));
  // And the layer still works.
  CHECK(error(sum_of_warp, 64, out.data()) == "");
  CHECK(out.values() == std::vector<float>(64, 32.0f));
}

#endif

}  // namespace
}  // namespace omniconv::simt::test
