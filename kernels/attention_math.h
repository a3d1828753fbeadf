// The activations of attention heads, element by element. For .cu files only.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/simt/simt.h"

namespace omniconv::kernels {

/// 1 / (1 + exp(-z)), with exp() only of what is not positive, so that nothing overflows.
template <class T>
OMNI_HOST_DEVICE T sigmoid(T z) {
  const T e = std::exp(z < T(0) ? z : -z);
  return (z < T(0) ? e : T(1)) / (T(1) + e);
}

/// p = softmax(z / t) of `count` logits z(k), stable for any finite ones.
template <class T, class Logit>
OMNI_HOST_DEVICE void softmax(const Logit& logit, std::int64_t count, T t, T* p) {
  T largest = logit(0);
  for (std::int64_t k = 1; k < count; ++k) largest = logit(k) > largest ? logit(k) : largest;
  T sum = 0;
  for (std::int64_t k = 0; k < count; ++k) {
    p[k] = std::exp((logit(k) - largest) / t);
    sum += p[k];
  }
  for (std::int64_t k = 0; k < count; ++k) p[k] /= sum;
}

}  // namespace omniconv::kernels
