#include "engine/host_tensor.h"

#include <bit>
#include <cmath>
#include <limits>

namespace omniconv {
namespace {

static_assert(std::endian::native == std::endian::little, "files hold little-endian numbers");

/// `value` in f32, with the last bit set if it is not exact: two bits and more behind those of a half, it keeps the
/// value off the halves and the ties between them, so that rounding it again is rounding `value` (von Neumann
/// rounding).
float round_to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  if (nearest == value || std::isnan(value) || std::bit_cast<std::uint32_t>(nearest) % 2 != 0) return nearest;
  constexpr float infinity = std::numeric_limits<float>::infinity();
  return std::nextafter(nearest, nearest < value ? infinity : -infinity);
}

template <class Stored, class Value>
void append_converted(const HostTensor& tensor, std::vector<Value>& values) {
  const std::size_t count = tensor.bytes.size() / sizeof(Stored);
  values.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    Stored stored;
    std::memcpy(&stored, tensor.bytes.data() + i * sizeof(Stored), sizeof(Stored));
    values.push_back(static_cast<Value>(stored));
  }
}

template <class Value>
std::vector<Value> floating_values(const HostTensor& tensor, std::string_view name) {
  std::vector<Value> values;
  switch (tensor.dtype) {
    case DType::f64:
      append_converted<double>(tensor, values);
      break;
    case DType::f32:
      append_converted<float>(tensor, values);
      break;
    case DType::f16:
      append_converted<f16>(tensor, values);
      break;
    case DType::bf16:
      append_converted<bf16>(tensor, values);
      break;
    default:
      fail("host_tensor", "expected ", name, " of a floating type, got ", name_of(tensor.dtype));
  }
  return values;
}

template <class Stored, class Value>
HostTensor converted(std::span<const Value> values, Shape shape) {
  std::vector<Stored> stored;
  stored.reserve(values.size());
  for (const Value value : values) {
    if constexpr (is_half<Stored>) {
      stored.push_back(round_to_half<Stored>(value));
    } else {
      stored.push_back(static_cast<Stored>(value));
    }
  }
  return make_host_tensor(stored, std::move(shape));
}

template <class Value>
HostTensor rounded(std::span<const Value> values, Shape shape, DType dtype) {
  switch (dtype) {
    case DType::f64:
      return converted<double>(values, std::move(shape));
    case DType::f32:
      return converted<float>(values, std::move(shape));
    case DType::f16:
      return converted<f16>(values, std::move(shape));
    case DType::bf16:
      return converted<bf16>(values, std::move(shape));
    default:
      fail("host_tensor", "expected a floating type to round to, got ", name_of(dtype));
  }
}

}  // namespace

template <class Half>
Half round_to_half(double value) {
  return Half(round_to_odd(value));
}
template bf16 round_to_half(double);
template f16 round_to_half(double);

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
      append_converted<std::int64_t>(tensor, values);
      break;
    case DType::i32:
      append_converted<std::int32_t>(tensor, values);
      break;
    case DType::u8:
      append_converted<std::uint8_t>(tensor, values);
      break;
    default:
      fail("host_tensor", "expected ", name, " of an integer type, got ", name_of(tensor.dtype));
  }
  return values;
}

}  // namespace omniconv
