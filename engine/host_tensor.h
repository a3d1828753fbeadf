// Arrays in host memory as files hold them, and their values: the border between stored types and computed ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/dtype.h"
#include "engine/tensor.h"

namespace omniconv {

/// A dense, row-major array in host memory; `bytes` holds count(shape) little-endian elements of `dtype`.
struct HostTensor {
  DType dtype = DType::f32;
  Shape shape;  ///< any rank; [] is one element
  std::vector<std::byte> bytes;

  friend bool operator==(const HostTensor&, const HostTensor&) = default;
};

/// A tensor of any type from its values. @throws Error unless `values` has count(shape) elements.
template <class T>
HostTensor make_host_tensor(const std::vector<T>& values, Shape shape);

/// `values` rounded to the floating type `dtype`: to nearest, ties to even; too large becomes infinite, NaN stays NaN.
/// @throws Error for an integer type, or unless `values` has count(shape) elements.
HostTensor round_to_host_tensor(std::span<const double> values, Shape shape, DType dtype);
HostTensor round_to_host_tensor(std::span<const float> values, Shape shape, DType dtype);

/// The values of a tensor of any floating type, exact. @throws Error naming `name` for integer types.
std::vector<double> to_doubles(const HostTensor& tensor, std::string_view name);
/// The same as f32; f64 is rounded to nearest.
std::vector<float> to_floats(const HostTensor& tensor, std::string_view name);
/// The values of a tensor of i64, i32 or u8. @throws Error naming `name` for floating types.
std::vector<std::int64_t> to_integers(const HostTensor& tensor, std::string_view name);

/// `value` rounded to Half, bf16 or f16, in one step: by way of f32 a value just beside a tie would be rounded twice.
template <class Half>
Half round_to_half(double value);

template <class T>
HostTensor make_host_tensor(const std::vector<T>& values, Shape shape) {
  expect(element_count(shape) == static_cast<std::int64_t>(values.size()), "host_tensor", "expected ",
         element_count(shape), " values for shape ", shape, ", got ", values.size());
  HostTensor tensor{DTypeOf<T>::value, std::move(shape), std::vector<std::byte>(values.size() * sizeof(T))};
  if (!values.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

}  // namespace omniconv
