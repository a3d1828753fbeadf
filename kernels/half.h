// The 16-bit floating types of stored activations and weights, the same bits on host and device.
//
// They are formats, not numbers to calculate with: arithmetic on them happens in float, which every value converts to
// exactly, and the way back, which rounds, has to be asked for: `T(sum)`.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "kernels/simt/config.h"

namespace omniconv {

namespace detail {

/// NaN of either format, what a GPU's conversions make of every NaN.
inline constexpr std::uint32_t half_nan = 0x7fffu;

/// Bits of the bf16 nearest to `value`, ties to even.
OMNI_HOST_DEVICE inline std::uint16_t bf16_bits(float value) {
#ifdef __CUDA_ARCH__
  std::uint16_t result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(value));
  return result;
#else
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<std::uint16_t>(nan ? half_nan : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
#endif
}

OMNI_HOST_DEVICE inline float float_from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

/// Bits of the f16 nearest to `value`, ties to even. Without branches, so that the compiler vectorises loops of it.
OMNI_HOST_DEVICE inline std::uint16_t f16_bits(float value) {
#ifdef __CUDA_ARCH__
  std::uint16_t result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result) : "f"(value));
  return result;
#else
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  constexpr std::uint32_t infinity = 0x7f800000u, too_large = 0x477ff000u /* 65520 */;
  constexpr std::uint32_t smallest_normal = 0x38800000u /* 2^-14 */;
  // The exponent's bias falls from 127 to 15, and 13 fraction bits are rounded away.
  const std::uint32_t normal = ((magnitude + 0xfffu + (magnitude >> 13 & 1u)) >> 13) - (112u << 10);
  // Numbers around 0.5 are whole in units of 2^-24, as f16 is below 2^-14: the addition rounds.
  const std::uint32_t subnormal =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<std::uint32_t>(0.5f);
  const std::uint32_t finite = magnitude < smallest_normal ? subnormal : normal;
  const std::uint32_t rounded = magnitude >= too_large ? 0x7c00u : finite;
  return static_cast<std::uint16_t>(magnitude > infinity ? half_nan : sign | rounded);
#endif
}

OMNI_HOST_DEVICE inline float float_from_f16(std::uint16_t bits) {
#ifdef __CUDA_ARCH__
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(bits));
  return result;
#else
  // Put into a float, exponent and fraction stand for 2^-112 of the value, subnormal or not; infinity and NaN do not.
  const std::uint32_t magnitude = (bits & 0x7fffu) << 13;
  const auto scaled = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const std::uint32_t finite_or_not = magnitude < (0x7c00u << 13) ? scaled : magnitude | 0x7f800000u;
  return std::bit_cast<float>(finite_or_not | (bits & 0x8000u) << 16);
#endif
}

}  // namespace detail

/// 8 exponent and 7 fraction bits: float's range with 3 significant digits less than f16.
struct bf16 {
  std::uint16_t bits;

  bf16() = default;
  /// Rounds to nearest, ties to even; too large becomes infinite, NaN stays NaN.
  OMNI_HOST_DEVICE explicit bf16(float value) : bits(detail::bf16_bits(value)) {}
  OMNI_HOST_DEVICE operator float() const { return detail::float_from_bf16(bits); }
};

/// 5 exponent and 10 fraction bits: up to 65504, down to 2^-24.
struct f16 {
  std::uint16_t bits;

  f16() = default;
  /// Rounds to nearest, ties to even; too large becomes infinite, NaN stays NaN.
  OMNI_HOST_DEVICE explicit f16(float value) : bits(detail::f16_bits(value)) {}
  OMNI_HOST_DEVICE operator float() const { return detail::float_from_f16(bits); }
};

static_assert(sizeof(bf16) == 2 && std::is_trivially_copyable_v<bf16> &&
              std::is_trivially_default_constructible_v<bf16>);
static_assert(sizeof(f16) == 2 && std::is_trivially_copyable_v<f16> && std::is_trivially_default_constructible_v<f16>);

/// Whether T is stored in 16 bits and computed with in float.
template <class T>
inline constexpr bool is_half = std::is_same_v<T, bf16> || std::is_same_v<T, f16>;

/// The type that values of T are computed with and accumulated in: float for bf16 and f16, else T.
template <class T>
using compute_type_t = std::conditional_t<is_half<T>, float, T>;

namespace kernels {

/// `target = value`, or `target += value`; a target of 16 bits is rounded once.
template <class T>
OMNI_HOST_DEVICE void write(T& target, compute_type_t<T> value, bool accumulate) {
  target = static_cast<T>(accumulate ? target + value : value);
}

}  // namespace kernels

}  // namespace omniconv
