// Counter-based random numbers: a number depends on seed, stream and index alone, not on the device or on the order
// in which numbers are drawn. Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>

#if defined(__CUDACC__)
#define OMNICONV_ANYWHERE __host__ __device__
#else
#define OMNICONV_ANYWHERE
#endif

namespace omniconv {

/// Four independent random words.
struct RandomWords {
  std::uint32_t word[4];

  OMNICONV_ANYWHERE std::uint32_t operator[](int i) const { return word[i]; }
};

/// The bijection itself: ten rounds on a counter of four words, under a key of two.
OMNICONV_ANYWHERE inline RandomWords philox4x32_10(RandomWords counter, std::uint32_t key0, std::uint32_t key1) {
  RandomWords c = counter;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * c.word[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * c.word[2];
    c = {{static_cast<std::uint32_t>(b >> 32) ^ c.word[1] ^ key0, static_cast<std::uint32_t>(b),
          static_cast<std::uint32_t>(a >> 32) ^ c.word[3] ^ key1, static_cast<std::uint32_t>(a)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return c;
}

/// The random numbers of one purpose (`stream`) of a run (`seed`), by index.
struct Philox {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;

  OMNICONV_ANYWHERE RandomWords words(std::uint64_t index) const {
    return philox4x32_10({{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                           static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)}},
                         static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
  }

  /// Uniform in [0, 1), of all multiples of 2^-24.
  OMNICONV_ANYWHERE float uniform_float(std::uint64_t index) const {
    return static_cast<float>(words(index)[0] >> 8) * 0x1p-24f;
  }
  /// Uniform in [0, 1), of all multiples of 2^-53.
  OMNICONV_ANYWHERE double uniform_double(std::uint64_t index) const {
    const RandomWords w = words(index);
    return unit_interval(w[0], w[1]);
  }
  /// Uniform in 0..n-1; the bias is below n / 2^32.
  OMNICONV_ANYWHERE static std::uint32_t below(std::uint32_t n, std::uint32_t word) {
    return static_cast<std::uint32_t>((std::uint64_t{word} * n) >> 32);
  }

  /// Two independent standard normal numbers (Box & Muller, 1958), on the host: libm differs between devices.
  std::pair<double, double> normal_pair(std::uint64_t index) const {
    const RandomWords w = words(index);
    const double radius = std::sqrt(-2 * std::log(1 - unit_interval(w[0], w[1])));
    const double angle = 2 * std::numbers::pi * unit_interval(w[2], w[3]);
    return {radius * std::cos(angle), radius * std::sin(angle)};
  }

 private:
  OMNICONV_ANYWHERE static double unit_interval(std::uint32_t high, std::uint32_t low) {
    return static_cast<double>((std::uint64_t{high} << 32 | low) >> 11) * 0x1p-53;
  }
};

}  // namespace omniconv

#undef OMNICONV_ANYWHERE
