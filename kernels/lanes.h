// A few neighbouring values that are computed with together, as if they were one. For .cu files only.
//
// On the CPU they are vector registers: GCC 12 takes loops over the elements of a simt::Vec apart into scalars as
// soon as there is a branch between them, which made batch norm seven times slower.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/simt/simt.h"

namespace omniconv::kernels {

template <class T, int N>
class Lanes {
 public:
  OMNI_DEVICE static Lanes all(T value) {
    Lanes result;
#if OMNICONV_CUDA
    for (int i = 0; i < N; ++i) result.values_[i] = value;
#else
    result.values_ = value - Values{};  // one broadcast, where the loop becomes N insertions; x - 0 is x for every x
#endif
    return result;
  }
  /// From an address that is a multiple of the size of N elements there, in bytes; converted where those are of
  /// another type.
  template <class From>
  OMNI_DEVICE static Lanes load(const From* from) {
    const simt::Vec<From, N> vector = simt::load_vector<N>(from);
    if constexpr (std::is_same_v<From, T>) {
      Lanes result;
      memcpy(&result.values_, &vector, sizeof(vector));
      return result;
    } else {
      return converted(vector.v);
    }
  }
  /// From any address, and converted.
  template <class From>
  OMNI_DEVICE static Lanes load_unaligned(const From* from) {
#if OMNICONV_CUDA
    // Most addresses are aligned: parameters and statistics of channels. Element by element, the lanes of a warp would
    // read far apart.
    constexpr int bytes = N * sizeof(From), piece = bytes < 16 ? bytes : 16;
    if (N > 1 && reinterpret_cast<std::uintptr_t>(from) % piece == 0) return converted(simt::load_vector<N>(from).v);
#endif
    return converted(from);
  }
  /// To an address that is a multiple of the size of N elements there, in bytes; rounded where those are of another
  /// type.
  template <class To>
  OMNI_DEVICE void store(To* to) const {
    simt::Vec<To, N> vector;
    if constexpr (std::is_same_v<To, T>) {
      memcpy(&vector, &values_, sizeof(vector));
    } else {
      for (int i = 0; i < N; ++i) vector[i] = static_cast<To>(values_[i]);
    }
    simt::store_vector(to, vector);
  }
  /// To any address.
  OMNI_DEVICE void store_unaligned(T* to) const { memcpy(to, &values_, sizeof(values_)); }

  template <class To>
  OMNI_DEVICE Lanes<To, N> to() const {
    Lanes<To, N> result;
#if OMNICONV_CUDA
    for (int i = 0; i < N; ++i) result.values_[i] = static_cast<To>(values_[i]);
#else
    result.values_ = __builtin_convertvector(values_, typename Lanes<To, N>::Values);
#endif
    return result;
  }

  /// As To holds them.
  template <class To>
  OMNI_DEVICE Lanes rounded() const {
    Lanes result = *this;
    if constexpr (!std::is_same_v<To, T>)
      for (int i = 0; i < N; ++i) result.values_[i] = static_cast<T>(static_cast<To>(values_[i]));
    return result;
  }

  OMNI_DEVICE T operator[](int i) const { return values_[i]; }

  OMNI_DEVICE friend Lanes operator+(const Lanes& a, const Lanes& b) {
    return apply([](auto& result, const auto& x, const auto& y) { result = x + y; }, a, b);
  }
  OMNI_DEVICE friend Lanes operator-(const Lanes& a, const Lanes& b) {
    return apply([](auto& result, const auto& x, const auto& y) { result = x - y; }, a, b);
  }
  OMNI_DEVICE friend Lanes operator*(const Lanes& a, const Lanes& b) {
    return apply([](auto& result, const auto& x, const auto& y) { result = x * y; }, a, b);
  }
  OMNI_DEVICE Lanes& operator+=(const Lanes& other) { return *this = *this + other; }

  /// Zero in place of negative values; NaN stays.
  OMNI_DEVICE Lanes without_negative() const {
    return apply([](auto& result, const auto& x, const auto& zero) { result = x < zero ? zero : x; }, *this, all(0));
  }
  /// Zero where `sign` is not positive.
  OMNI_DEVICE Lanes where_positive(const Lanes& sign) const {
    return apply([](auto& result, const auto& x, const auto& s, const auto& zero) { result = s > zero ? x : zero; },
                 *this, sign, all(0));
  }

 private:
  template <class From>
  OMNI_DEVICE static Lanes converted(const From* from) {
    Lanes result;
    for (int i = 0; i < N; ++i) result.values_[i] = static_cast<T>(from[i]);
    return result;
  }

  template <class, int>
  friend class Lanes;

#if OMNICONV_CUDA
  struct Values {
    T value[N];
    OMNI_DEVICE T& operator[](int i) { return value[i]; }
    OMNI_DEVICE const T& operator[](int i) const { return value[i]; }
  };
#else
  typedef T Values __attribute__((vector_size(N * sizeof(T))));
#endif

  /// `operation` on the elements, or on registers, which is spelled alike. Its result is its first argument,
  /// because returning a register that the portable build does not have is an error.
  template <class Operation, class... Operands>
  OMNI_DEVICE static Lanes apply(Operation operation, const Operands&... operands) {
    Lanes result;
#if OMNICONV_CUDA
    for (int i = 0; i < N; ++i) operation(result.values_[i], operands.values_[i]...);
#else
    operation(result.values_, operands.values_...);
#endif
    return result;
  }

  Values values_;
};

}  // namespace omniconv::kernels
