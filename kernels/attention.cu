#include "kernels/attention.h"

#include <cmath>

#include "kernels/error.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {

using namespace omniconv::simt;

namespace {

template <class T>
OMNI_HOST_DEVICE T sigmoid(T x) {
  // The exponent is never positive, so nothing overflows.
  const T e = exp(x < 0 ? x : -x);
  return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

}  // namespace

template <class T>
void sigmoid_attention_forward(const T* logits, const double* temperature, T* attention, std::int64_t count,
                               Stream stream) {
  for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    attention[i] = sigmoid(logits[i] / static_cast<T>(*temperature));
  });
}

template <class T>
void sigmoid_attention_backward(const T* logits, const double* temperature, const T* weighted, T* d_logits,
                                std::int64_t count, bool accumulate, Stream stream) {
  for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    const T t = static_cast<T>(*temperature);
    const T gradient = sigmoid(-logits[i] / t) * weighted[i] / t;
    d_logits[i] = accumulate ? d_logits[i] + gradient : gradient;
  });
}

template <class T>
void softmax_attention_forward(const T* logits, const double* temperature, T* attention, std::int64_t samples,
                               std::int64_t kernels, Stream stream) {
  for_each_index(samples, stream, [=] OMNI_HOST_DEVICE(std::int64_t n) {
    const T* z = logits + n * kernels;
    T* p = attention + n * kernels;
    const T t = static_cast<T>(*temperature);
    T largest = z[0];
    for (std::int64_t k = 1; k < kernels; ++k) largest = z[k] > largest ? z[k] : largest;
    T sum = 0;
    for (std::int64_t k = 0; k < kernels; ++k) {
      p[k] = exp((z[k] - largest) / t);
      sum += p[k];
    }
    for (std::int64_t k = 0; k < kernels; ++k) p[k] /= sum;
  });
}

template <class T>
void kernel_attention_backward(const T* weighted_kst, const T* attention, const double* temperature,
                               T* d_kernel_logits, bool accumulate, T* weighted_spatial, std::int64_t samples,
                               std::int64_t kernels, std::int64_t taps, Stream stream) {
  expect(d_kernel_logits == nullptr || attention != nullptr, "kernel_attention",
         "expected the kernel attention beside its gradient, got none");
  for_each_index(samples, stream, [=] OMNI_HOST_DEVICE(std::int64_t n) {
    const T* q = weighted_kst + n * kernels * taps;
    if (weighted_spatial) {
      for (std::int64_t t = 0; t < taps; ++t) {
        T sum = 0;
        for (std::int64_t k = 0; k < kernels; ++k) sum += q[k * taps + t];
        weighted_spatial[n * taps + t] = sum;
      }
    }
    if (!d_kernel_logits) return;
    T total = 0;
    for (std::int64_t j = 0; j < kernels * taps; ++j) total += q[j];
    for (std::int64_t k = 0; k < kernels; ++k) {
      T sum = 0;
      for (std::int64_t t = 0; t < taps; ++t) sum += q[k * taps + t];
      const T gradient = (sum - attention[n * kernels + k] * total) / static_cast<T>(*temperature);
      T& target = d_kernel_logits[n * kernels + k];
      target = accumulate ? target + gradient : gradient;
    }
  });
}

#define OMNICONV_INSTANTIATE(T)                                                                                   \
  template void sigmoid_attention_forward(const T*, const double*, T*, std::int64_t, Stream);                     \
  template void sigmoid_attention_backward(const T*, const double*, const T*, T*, std::int64_t, bool, Stream);    \
  template void softmax_attention_forward(const T*, const double*, T*, std::int64_t, std::int64_t, Stream);       \
  template void kernel_attention_backward(const T*, const T*, const double*, T*, bool, T*, std::int64_t,          \
                                          std::int64_t, std::int64_t, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
