// Random numbers for the host's side of the data, the same on every machine.
#pragma once

#include <cstdint>

namespace omniconv {

/// What a row of draws is for; rows of different purposes have nothing in common.
enum class DrawPurpose : std::uint64_t { epoch_order = 1, synthetic_train = 2, synthetic_test = 3 };

/// A row of numbers that depends on its four keys alone: no state is shared, no order of use matters.
class Draws {
 public:
  Draws(std::uint64_t seed, DrawPurpose purpose, std::uint64_t index)
      : state_(mixed(mixed(mixed(seed) + static_cast<std::uint64_t>(purpose)) + index)) {}

  /// Uniform in [0, limit), for 1 <= limit < 2^32; the deviation from uniform is below 2^-31.
  std::int64_t below(std::int64_t limit) {
    const auto bound = static_cast<std::uint64_t>(limit);
    const std::uint64_t bits = next();
    return static_cast<std::int64_t>(((bits >> 32) * bound + ((bits & 0xFFFFFFFF) * bound >> 32)) >> 32);
  }
  /// Uniform in [first, last].
  std::int64_t between(std::int64_t first, std::int64_t last) { return first + below(last - first + 1); }

 private:
  static constexpr std::uint64_t step = 0x9E3779B97F4A7C15;

  /// SplitMix64's output function: a bijection of 64 bits.
  static constexpr std::uint64_t mixed(std::uint64_t value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
  }
  std::uint64_t next() { return mixed(state_ += step); }

  std::uint64_t state_;
};

}  // namespace omniconv
