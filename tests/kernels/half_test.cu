// bf16 and f16, on the device of the build.
#include "kernels/half.h"

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/simt/simt.h"
#include "tests/catch.h"
#include "tests/device_array.h"

namespace omniconv::test {
namespace {

template <class Half>
std::vector<std::uint16_t> rounded_on_device(const std::vector<float>& values) {
  const auto count = static_cast<std::int64_t>(values.size());
  const DeviceArray<float> input(values);
  const DeviceArray<std::uint16_t> output(count);
  const float* const in = input;
  std::uint16_t* const out = output;
  simt::for_each_index(count, main_stream(), [=] OMNI_HOST_DEVICE(std::int64_t i) { out[i] = Half(in[i]).bits; });
  return output.to_host();
}

template <class Half>
std::vector<float> widened_on_device(const std::vector<std::uint16_t>& bits) {
  const auto count = static_cast<std::int64_t>(bits.size());
  const DeviceArray<std::uint16_t> input(bits);
  const DeviceArray<float> output(count);
  const std::uint16_t* const in = input;
  float* const out = output;
  simt::for_each_index(count, main_stream(),
                       [=] OMNI_HOST_DEVICE(std::int64_t i) { out[i] = std::bit_cast<Half>(in[i]); });
  return output.to_host();
}

/// What a half with these bits means, by the definition of its format.
double meaning(std::uint16_t bits, int fraction_bits, int bias) {
  const int field = (bits & 0x7fff) >> fraction_bits;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const double magnitude = field == 0 ? std::ldexp(fraction, 1 - bias - fraction_bits)
                                      : std::ldexp(fraction + (1 << fraction_bits), field - bias - fraction_bits);
  return bits & 0x8000 ? -magnitude : magnitude;
}

template <class Half>
void check_half(int fraction_bits, int bias, std::uint16_t infinity_bits) {
  // All finite values, of both signs.
  std::vector<std::uint16_t> bits;
  for (unsigned b = 0; b < infinity_bits; ++b)
    for (const unsigned sign : {0u, 0x8000u}) bits.push_back(static_cast<std::uint16_t>(b | sign));
  const std::vector<float> values = widened_on_device<Half>(bits);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    REQUIRE(values[i] == meaning(bits[i], fraction_bits, bias));
    REQUIRE(std::signbit(values[i]) == (bits[i] >= 0x8000));
  }
  CHECK(rounded_on_device<Half>(values) == bits);

  // Between neighbours, ties go to even, and all else to the nearer one; the neighbour of the largest is infinity.
  std::vector<float> between;
  std::vector<std::uint16_t> expected;
  for (unsigned b = 0; b < infinity_bits; ++b) {
    const auto low = static_cast<std::uint16_t>(b), high = static_cast<std::uint16_t>(b + 1);
    const double middle = (meaning(low, fraction_bits, bias) + meaning(high, fraction_bits, bias)) / 2;
    const auto tie = static_cast<float>(middle);
    REQUIRE(tie == middle);
    between.insert(between.end(), {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, 2 * tie), -tie});
    const std::uint16_t even = b % 2 == 0 ? low : high;
    expected.insert(expected.end(), {even, low, high, static_cast<std::uint16_t>(even | 0x8000)});
  }
  CHECK(rounded_on_device<Half>(between) == expected);

  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const auto negative_infinity = static_cast<std::uint16_t>(infinity_bits | 0x8000);
  CHECK(rounded_on_device<Half>({infinity, -infinity, std::numeric_limits<float>::max(), nan, 1e-45f, -1e-45f}) ==
        std::vector<std::uint16_t>{infinity_bits, negative_infinity, infinity_bits, 0x7fff, 0, 0x8000});
  const std::vector<float> limits =
      widened_on_device<Half>({infinity_bits, negative_infinity, static_cast<std::uint16_t>(infinity_bits + 1)});
  CHECK(limits[0] == infinity);
  CHECK(limits[1] == -infinity);
  CHECK(std::isnan(limits[2]));
}

TEST_CASE("bf16 and f16 widen exactly and round to nearest even", KERNEL_TAGS) {
  check_half<bf16>(7, 127, 0x7f80);
  check_half<f16>(10, 15, 0x7c00);
}

TEST_CASE("halves are computed with in float", "[kernels]") {
  static_assert(std::is_same_v<compute_type_t<bf16>, float> && std::is_same_v<compute_type_t<f16>, float>);
  static_assert(std::is_same_v<compute_type_t<float>, float> && std::is_same_v<compute_type_t<double>, double>);
  static_assert(std::is_same_v<decltype(bf16(1.0f) * f16(2.0f)), float>);
  CHECK(bf16(1.5f) * bf16(2.0f) + bf16(0.25f) == 3.25f);
}

}  // namespace
}  // namespace omniconv::test
