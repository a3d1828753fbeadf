#include "engine/host_tensor.h"

#include <bit>
#include <cmath>
#include <limits>

namespace omniconv {
namespace {

static_assert(std::endian::native == std::endian::little, "files hold little-endian numbers");

/// A 16-bit floating format: 1 sign bit, then exponent, then fraction.
struct HalfFormat {
  int exponent_bits;
  int fraction_bits;

  constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  constexpr unsigned infinity() const { return ((1u << exponent_bits) - 1) << fraction_bits; }
};
constexpr HalfFormat f16{5, 10};
constexpr HalfFormat bf16{8, 7};

/// From f64 in one rounding: by way of f32 a value just beside a tie would be rounded twice.
std::uint16_t round_to_half(HalfFormat format, double value) {
  const unsigned sign = std::signbit(value) ? 0x8000u : 0u;
  const double magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | format.infinity() | 1u << (format.fraction_bits - 1));
  if (magnitude == 0) return static_cast<std::uint16_t>(sign);
  // In units of the last place, that of the smallest normal number for everything below it, the value is an integer
  // plus a fraction; both steps are exact, and nearbyint then rounds ties to even.
  const int exponent = std::max(std::ilogb(magnitude), 1 - format.bias());  // that of infinity is INT_MAX
  if (exponent > format.bias()) return static_cast<std::uint16_t>(sign | format.infinity());
  const double units = std::nearbyint(std::scalbn(magnitude, format.fraction_bits - exponent));
  // The leading bit of a normal number adds one to the exponent field, as a carry out of the rounding does.
  const unsigned field = static_cast<unsigned>(exponent + format.bias() - 1) << format.fraction_bits;
  return static_cast<std::uint16_t>(sign | (field + static_cast<unsigned>(units)));
}

double half_to_double(HalfFormat format, std::uint16_t bits) {
  const unsigned magnitude = bits & 0x7FFFu;
  const int field = static_cast<int>(magnitude >> format.fraction_bits);
  const unsigned fraction = magnitude & ((1u << format.fraction_bits) - 1);
  double value = 0;
  if (magnitude > format.infinity()) {
    value = std::numeric_limits<double>::quiet_NaN();
  } else if (magnitude == format.infinity()) {
    value = std::numeric_limits<double>::infinity();
  } else {
    const unsigned units = field == 0 ? fraction : fraction + (1u << format.fraction_bits);
    value = std::scalbn(units, std::max(field, 1) - format.bias() - format.fraction_bits);
  }
  return std::copysign(value, bits & 0x8000u ? -1.0 : 1.0);
}

template <class Stored, class Value, class Convert>
void append_converted(const HostTensor& tensor, std::vector<Value>& values, Convert convert) {
  const std::size_t count = tensor.bytes.size() / sizeof(Stored);
  values.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    Stored stored;
    std::memcpy(&stored, tensor.bytes.data() + i * sizeof(Stored), sizeof(Stored));
    values.push_back(static_cast<Value>(convert(stored)));
  }
}

constexpr auto unchanged = [](auto stored) { return stored; };

template <class Value>
std::vector<Value> floating_values(const HostTensor& tensor, std::string_view name) {
  std::vector<Value> values;
  switch (tensor.dtype) {
    case DType::f64:
      append_converted<double>(tensor, values, unchanged);
      break;
    case DType::f32:
      append_converted<float>(tensor, values, unchanged);
      break;
    case DType::f16:
      append_converted<std::uint16_t>(tensor, values, double_from_f16);
      break;
    case DType::bf16:
      append_converted<std::uint16_t>(tensor, values, double_from_bf16);
      break;
    default:
      fail("host_tensor", "expected ", name, " of a floating type, got ", name_of(tensor.dtype));
  }
  return values;
}

template <class Stored, class Value, class Convert>
std::vector<Stored> converted(std::span<const Value> values, Convert convert) {
  std::vector<Stored> stored;
  stored.reserve(values.size());
  for (const Value value : values) stored.push_back(static_cast<Stored>(convert(value)));
  return stored;
}

template <class Value>
HostTensor rounded(std::span<const Value> values, Shape shape, DType dtype) {
  const auto of_bits = [&](const std::vector<std::uint16_t>& bits) {
    expect(element_count(shape) == static_cast<std::int64_t>(bits.size()), "host_tensor", "expected ",
           element_count(shape), " values for shape ", shape, ", got ", bits.size());
    HostTensor tensor{dtype, shape, std::vector<std::byte>(bits.size() * sizeof(std::uint16_t))};
    if (!bits.empty()) std::memcpy(tensor.bytes.data(), bits.data(), tensor.bytes.size());
    return tensor;
  };
  switch (dtype) {
    case DType::f64:
      return make_host_tensor(converted<double>(values, unchanged), std::move(shape));
    case DType::f32:
      return make_host_tensor(converted<float>(values, unchanged), std::move(shape));
    case DType::f16:
      return of_bits(converted<std::uint16_t>(values, f16_from_double));
    case DType::bf16:
      return of_bits(converted<std::uint16_t>(values, bf16_from_double));
    default:
      fail("host_tensor", "expected a floating type to round to, got ", name_of(dtype));
  }
}

}  // namespace

std::uint16_t f16_from_double(double value) {
  return round_to_half(f16, value);
}
std::uint16_t bf16_from_double(double value) {
  return round_to_half(bf16, value);
}
double double_from_f16(std::uint16_t bits) {
  return half_to_double(f16, bits);
}
double double_from_bf16(std::uint16_t bits) {
  return half_to_double(bf16, bits);
}

HostTensor round_to_host_tensor(std::span<const double> values, Shape shape, DType dtype) {
  return rounded(values, std::move(shape), dtype);
}
HostTensor round_to_host_tensor(std::span<const float> values, Shape shape, DType dtype) {
  return rounded(values, std::move(shape), dtype);
}

std::vector<double> to_doubles(const HostTensor& tensor, std::string_view name) {
  return floating_values<double>(tensor, name);
}
std::vector<float> to_floats(const HostTensor& tensor, std::string_view name) {
  return floating_values<float>(tensor, name);
}

std::vector<std::int64_t> to_integers(const HostTensor& tensor, std::string_view name) {
  std::vector<std::int64_t> values;
  switch (tensor.dtype) {
    case DType::i64:
      append_converted<std::int64_t>(tensor, values, unchanged);
      break;
    case DType::i32:
      append_converted<std::int32_t>(tensor, values, unchanged);
      break;
    case DType::u8:
      append_converted<std::uint8_t>(tensor, values, unchanged);
      break;
    default:
      fail("host_tensor", "expected ", name, " of an integer type, got ", name_of(tensor.dtype));
  }
  return values;
}

}  // namespace omniconv
