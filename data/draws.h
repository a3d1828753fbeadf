// Random numbers for the host's side of the data, the same on every machine.
#pragma once

#include <cstdint>

#include "kernels/philox.h"

namespace omniconv {

/// What a row of draws is for; rows of different purposes have nothing in common. 4 is kernels/dropout.cu's.
enum class DrawPurpose : std::uint64_t { epoch_order = 1, synthetic_train = 2, synthetic_test = 3, mixing = 5 };

/// A row of numbers that depends on its three keys alone: no state is shared, no order of use matters.
class Draws {
 public:
  /// `index` < 2^48: the purpose lies above it in the generator's stream, out of reach of streams that are an epoch.
  Draws(std::uint64_t seed, DrawPurpose purpose, std::uint64_t index)
      : philox_(seed, (static_cast<std::uint64_t>(purpose) << 48) + index) {}

  /// Uniform in [0, limit), for 1 <= limit < 2^32; the deviation from uniform is below 2^-31.
  std::int64_t below(std::int64_t limit) {
    // The top 32 bits of limit times a fraction of 64 bits.
    const auto bound = static_cast<std::uint64_t>(limit);
    const std::uint64_t high = next() * bound;
    const std::uint64_t low = next() * bound;
    return static_cast<std::int64_t>((high + (low >> 32)) >> 32);
  }
  /// Uniform in [0, 1).
  double uniform() {
    const std::uint64_t high = next();
    return static_cast<double>((high << 32 | next()) >> 11) * 0x1p-53;
  }
  /// Uniform in [first, last].
  std::int64_t between(std::int64_t first, std::int64_t last) { return first + below(last - first + 1); }

 private:
  std::uint64_t next() {
    constexpr std::uint64_t words = 4;
    if (drawn_ % words == 0) block_ = philox_.words(drawn_ / words);
    return block_.word[drawn_++ % words];
  }

  Philox philox_;
  PhiloxWords block_{};
  std::uint64_t drawn_ = 0;
};

}  // namespace omniconv
