// A few neighbouring values that are computed with together, as if they were one. For .cu files only.
//
// On the CPU they are a vector register: GCC 12 takes loops over the elements of a simt::Vec apart into scalars as
// soon as there is a branch between them, which made batch norm seven times slower.
#pragma once

#include <cstring>

#include "kernels/simt/simt.h"

namespace omniconv::kernels {

template <class T, int N>
class Lanes {
 public:
#if OMNICONV_CUDA
  struct Values {
    T value[N];
    OMNI_DEVICE T& operator[](int i) { return value[i]; }
    OMNI_DEVICE const T& operator[](int i) const { return value[i]; }
  };
#else
  typedef T Values __attribute__((vector_size(N * sizeof(T))));
#endif
  Values values;

  OMNI_DEVICE static Lanes all(T value) {
    Lanes result;
    for (int i = 0; i < N; ++i) result.values[i] = value;
    return result;
  }
  /// From an address that is a multiple of their size in bytes.
  OMNI_DEVICE static Lanes load(const T* from) {
    const simt::Vec<T, N> vector = simt::load_vector<N>(from);
    Lanes result;
    memcpy(&result.values, &vector, sizeof(vector));
    return result;
  }
  /// From any address, and converted.
  template <class From>
  OMNI_DEVICE static Lanes load_unaligned(const From* from) {
    Lanes result;
    for (int i = 0; i < N; ++i) result.values[i] = static_cast<T>(from[i]);
    return result;
  }
  /// To an address that is a multiple of their size in bytes.
  OMNI_DEVICE void store(T* to) const {
    simt::Vec<T, N> vector;
    memcpy(&vector, &values, sizeof(vector));
    simt::store_vector(to, vector);
  }

  template <class To>
  OMNI_DEVICE Lanes<To, N> to() const {
    Lanes<To, N> result;
#if OMNICONV_CUDA
    for (int i = 0; i < N; ++i) result.values[i] = static_cast<To>(values[i]);
#else
    result.values = __builtin_convertvector(values, typename Lanes<To, N>::Values);
#endif
    return result;
  }

  OMNI_DEVICE T operator[](int i) const { return values[i]; }

  OMNI_DEVICE friend Lanes operator+(const Lanes& a, const Lanes& b) {
    return apply([](const auto& x, const auto& y) { return x + y; }, a, b);
  }
  OMNI_DEVICE friend Lanes operator-(const Lanes& a, const Lanes& b) {
    return apply([](const auto& x, const auto& y) { return x - y; }, a, b);
  }
  OMNI_DEVICE friend Lanes operator*(const Lanes& a, const Lanes& b) {
    return apply([](const auto& x, const auto& y) { return x * y; }, a, b);
  }
  OMNI_DEVICE Lanes& operator+=(const Lanes& other) { return *this = *this + other; }

  /// Zero in place of negative values; NaN stays.
  OMNI_DEVICE Lanes without_negative() const {
    return apply([](const auto& x, const auto& zero) { return x < zero ? zero : x; }, *this, all(0));
  }
  /// Zero where `sign` is not positive.
  OMNI_DEVICE Lanes where_positive(const Lanes& sign) const {
    return apply([](const auto& x, const auto& s, const auto& zero) { return s > zero ? x : zero; }, *this, sign,
                 all(0));
  }

 private:
  /// `operation` on the elements, or on whole registers, which is spelled alike.
  template <class Operation, class... Operands>
  OMNI_DEVICE static Lanes apply(Operation operation, const Operands&... operands) {
    Lanes result;
#if OMNICONV_CUDA
    for (int i = 0; i < N; ++i) result.values[i] = operation(operands.values[i]...);
#else
    result.values = operation(operands.values...);
#endif
    return result;
  }
};

}  // namespace omniconv::kernels
