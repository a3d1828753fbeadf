// Element types and the bridge from a type known at run time to one known at compile time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/error.h"
#include "kernels/half.h"

namespace omniconv {

/// Element types. f64 exists for gradient checks; bf16 and f16 for files and mixed precision; u8 holds images.
enum class DType { f32, f64, bf16, f16, u8, i32, i64 };

/// Size of one element in bytes.
std::size_t size_of(DType dtype);

/// "f32", "f64", ...
std::string_view name_of(DType dtype);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<f16> {
  static constexpr DType value = DType::f16;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::i64;
};

/// The type that values of `dtype` are computed with: f32 for bf16 and f16, else itself.
constexpr DType compute_dtype(DType dtype) {
  return dtype == DType::bf16 || dtype == DType::f16 ? DType::f32 : dtype;
}

/// Calls `body` with a value of the floating type of `dtype`: `dispatch("relu", t.dtype(), [&](auto zero) { using T =
/// decltype(zero); ... })`. Throws Error naming `where` for types that are not computed in.
template <class Body>
decltype(auto) dispatch(std::string_view where, DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body(float{});
    case DType::f64:
      return body(double{});
    default:
      fail(where, "expected a tensor of f32 or f64, got ", name_of(dtype));
  }
}

/// The same for what activations are stored in: bf16 and f16 too.
template <class Body>
decltype(auto) dispatch_storage(std::string_view where, DType dtype, Body&& body) {
  switch (dtype) {
    case DType::bf16:
      return body(bf16{});
    case DType::f16:
      return body(f16{});
    default:
      return dispatch(where, dtype, body);
  }
}

}  // namespace omniconv
