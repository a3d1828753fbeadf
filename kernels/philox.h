// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
//
// A number depends on (seed, stream, index) and on nothing else: not on the device, the number of threads, or on what
// was drawn before.
#pragma once

#include <cmath>
#include <cstdint>

#if OMNICONV_CUDA && defined(__CUDACC__)
#define OMNI_PHILOX __host__ __device__
#else
#define OMNI_PHILOX
#endif

namespace omniconv {

/// Four independent 32-bit words.
struct PhiloxWords {
  std::uint32_t word[4];
};

/// The block function on a counter of four words and a key of two.
OMNI_PHILOX inline PhiloxWords philox4x32(PhiloxWords counter, std::uint32_t key0, std::uint32_t key1) {
  constexpr int rounds = 10;
  constexpr std::uint64_t multiplier0 = 0xD2511F53u, multiplier1 = 0xCD9E8D57u;
  constexpr std::uint32_t step0 = 0x9E3779B9u, step1 = 0xBB67AE85u;
  for (int round = 0; round < rounds; ++round) {
    const std::uint64_t a = multiplier0 * counter.word[0];
    const std::uint64_t b = multiplier1 * counter.word[2];
    counter = {{static_cast<std::uint32_t>(b >> 32) ^ counter.word[1] ^ key0, static_cast<std::uint32_t>(b),
                static_cast<std::uint32_t>(a >> 32) ^ counter.word[3] ^ key1, static_cast<std::uint32_t>(a)}};
    key0 += step0;
    key1 += step1;
  }
  return counter;
}

/// The random numbers of one (seed, stream), by index.
class Philox {
 public:
  OMNI_PHILOX Philox(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}

  OMNI_PHILOX PhiloxWords words(std::uint64_t index) const {
    return philox4x32({{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                        static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)}},
                      static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32));
  }

  /// Uniform in [0, 1), from the top 53 bits of the first two words (`second` false) or of the last two.
  OMNI_PHILOX double uniform(std::uint64_t index, bool second = false) const {
    const PhiloxWords w = words(index);
    const std::uint64_t bits = (static_cast<std::uint64_t>(w.word[second ? 3 : 1]) << 32) | w.word[second ? 2 : 0];
    return static_cast<double>(bits >> 11) * 0x1p-53;
  }

  /// Standard normal by Box and Muller's transform. On the host: initial weights are drawn there.
  double normal(std::uint64_t index) const {
    constexpr double two_pi = 6.283185307179586476925;
    // 1 - u lies in (0, 1], so its logarithm is finite.
    return std::sqrt(-2 * std::log(1 - uniform(index))) * std::cos(two_pi * uniform(index, true));
  }

 private:
  std::uint64_t seed_, stream_;
};

}  // namespace omniconv
