// Conversions between stored and computed types.
#include "engine/host_tensor.h"

#include <bit>
#include <cmath>
#include <limits>

#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

std::uint16_t f16_from_double(double value) {
  return round_to_half<f16>(value).bits;
}
std::uint16_t bf16_from_double(double value) {
  return round_to_half<bf16>(value).bits;
}
template <class Half>
double to_double(std::uint16_t bits) {
  return std::bit_cast<Half>(bits);
}

struct Format {
  const char* name;
  std::uint16_t (*from)(double);
  double (*to)(std::uint16_t);
  std::uint16_t infinity_bits;
};
constexpr Format formats[] = {{"f16", f16_from_double, to_double<f16>, 0x7C00},
                              {"bf16", bf16_from_double, to_double<bf16>, 0x7F80}};

TEST_CASE("known bit patterns of f16 and bf16") {
  CHECK(f16_from_double(1) == 0x3C00);
  CHECK(f16_from_double(-2) == 0xC000);
  CHECK(f16_from_double(65504) == 0x7BFF);
  CHECK(f16_from_double(0.1) == 0x2E66);
  CHECK(f16_from_double(std::ldexp(1, -24)) == 0x0001);
  CHECK(f16_from_double(std::ldexp(1, -14)) == 0x0400);
  CHECK(f16_from_double(65519.99) == 0x7BFF);
  CHECK(f16_from_double(65520) == 0x7C00);
  CHECK(bf16_from_double(1) == 0x3F80);
  CHECK(bf16_from_double(-2) == 0xC000);
  CHECK(bf16_from_double(0.1) == 0x3DCD);
  CHECK(bf16_from_double(1e300) == 0x7F80);
  CHECK(bf16_from_double(std::ldexp(1, -133)) == 0x0001);
}

TEST_CASE("every f16 and bf16 survives the way through f64, and half-way values go to even") {
  for (const Format& half : formats) {
    INFO(half.name);
    for (unsigned bits = 0; bits < half.infinity_bits; ++bits) {
      for (const unsigned sign : {0u, 0x8000u}) {
        const double value = half.to(static_cast<std::uint16_t>(bits | sign));
        REQUIRE(half.from(value) == (bits | sign));
        REQUIRE(std::signbit(value) == (sign != 0));
      }
      if (bits + 1 == half.infinity_bits) continue;
      const double low = half.to(static_cast<std::uint16_t>(bits));
      const double high = half.to(static_cast<std::uint16_t>(bits + 1));
      REQUIRE(low < high);
      const double middle = (low + high) / 2;
      REQUIRE(half.from(middle) == bits + bits % 2);
      REQUIRE(half.from(std::nextafter(middle, 0)) == bits);
      REQUIRE(half.from(std::nextafter(middle, infinity)) == bits + 1);
    }
  }
}

TEST_CASE("infinite, too large and undefined values keep their meaning in f16 and bf16") {
  for (const Format& half : formats) {
    INFO(half.name);
    CHECK(half.from(infinity) == half.infinity_bits);
    CHECK(half.from(-infinity) == (half.infinity_bits | 0x8000));
    CHECK(half.from(1e308) == half.infinity_bits);
    CHECK(half.to(half.infinity_bits) == infinity);
    CHECK(half.from(std::numeric_limits<double>::denorm_min()) == 0);
    CHECK(half.from(-1e-310) == 0x8000);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(std::isnan(half.to(half.from(nan))));
    CHECK(std::isnan(half.to(static_cast<std::uint16_t>(half.infinity_bits + 1))));
  }
}

TEST_CASE("a value just beside a tie is rounded once, not by way of f32") {
  // 1 + 2^-8 + 2^-40 lies above the tie between two bf16; rounded to f32 first it would lie on it.
  const double value = 1 + std::ldexp(1, -8) + std::ldexp(1, -40);
  CHECK(bf16_from_double(value) == 0x3F81);
  CHECK(bf16_from_double(static_cast<float>(value)) == 0x3F80);
}

TEST_CASE("tensors of floating types convert to f64 and f32 and back") {
  const std::vector<double> values = {0, -0.5, 3, 65504, 0.125, -1};
  for (const DType dtype : {DType::f64, DType::f32, DType::f16}) {
    const HostTensor tensor = round_to_host_tensor(values, {2, 3}, dtype);
    CHECK(tensor.dtype == dtype);
    CHECK(tensor.bytes.size() == 6 * size_of(dtype));
    CHECK(to_doubles(tensor, "w") == values);
    CHECK(to_floats(tensor, "w") == std::vector<float>(values.begin(), values.end()));
  }
  const std::vector<float> floats = {1.00390625f, 1.01171875f};  // half-way between neighbours of bf16
  CHECK(to_floats(round_to_host_tensor(floats, {2}, DType::bf16), "w") == std::vector<float>{1.0f, 1.015625f});
}

TEST_CASE("integers convert to i64 and types that do not fit are refused") {
  CHECK(to_integers(make_host_tensor<std::int64_t>({-5}, {}), "n") == std::vector<std::int64_t>{-5});
  CHECK(to_integers(make_host_tensor<std::int32_t>({1, -2}, {2}), "n") == std::vector<std::int64_t>{1, -2});
  CHECK(to_integers(make_host_tensor<std::uint8_t>({200}, {1}), "n") == std::vector<std::int64_t>{200});
  const HostTensor integers = make_host_tensor<std::int64_t>({1}, {1});
  const HostTensor floats = make_host_tensor<float>({1}, {1});
  CHECK_THAT(message_of<Error>([&] { to_doubles(integers, "fc.weight"); }),
             ContainsSubstring("[host_tensor] expected fc.weight of a floating type, got i64"));
  CHECK_THAT(message_of<Error>([&] { to_floats(integers, "fc.weight"); }),
             ContainsSubstring("expected fc.weight of a floating type, got i64"));
  CHECK_THAT(message_of<Error>([&] { to_integers(floats, "labels"); }),
             ContainsSubstring("[host_tensor] expected labels of an integer type, got f32"));
  CHECK_THAT(message_of<Error>([&] {
               make_host_tensor<float>({1, 2}, {3});
             }),
             ContainsSubstring("[host_tensor] expected 3 values for shape [3], got 2"));
  const std::vector<double> two = {1, 2};
  CHECK_THAT(message_of<Error>([&] { round_to_host_tensor(two, {3}, DType::f16); }),
             ContainsSubstring("expected 3 values for shape [3], got 2"));
  CHECK_THAT(message_of<Error>([&] { round_to_host_tensor(two, {2}, DType::u8); }),
             ContainsSubstring("expected a floating type to round to, got u8"));
}

}  // namespace
}  // namespace omniconv::test
