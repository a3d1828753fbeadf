#include "kernels/attention.h"

#include <cmath>

#include "kernels/error.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {
namespace {

// Only exp() of what is not positive, so that nothing overflows.
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

}  // namespace

template <class T>
void sigmoid_attention_forward(const T* logits, const double* temperature, T* attention, std::int64_t count,
                               Stream stream) {
  simt::for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    attention[i] = sigmoid(logits[i] / static_cast<T>(*temperature));
  });
}

template <class T>
void sigmoid_attention_backward(const T* logits, const double* temperature, const T* weighted, T* d_logits,
                                std::int64_t count, bool accumulate, Stream stream) {
  simt::for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    const T t = static_cast<T>(*temperature);
    const T gradient = sigmoid(-logits[i] / t) * weighted[i] / t;
    d_logits[i] = accumulate ? d_logits[i] + gradient : gradient;
  });
}

template <class T>
void softmax_attention_forward(const T* logits, const double* temperature, T* attention, std::int64_t samples,
                               std::int64_t kernels, Stream stream) {
  expect(kernels >= 1, "attention", "expected at least 1 kernel, got ", kernels);
  simt::for_each_index(samples, stream, [=] OMNI_HOST_DEVICE(std::int64_t n) {
    const T* const z = logits + n * kernels;
    softmax([z](std::int64_t k) { return z[k]; }, kernels, static_cast<T>(*temperature), attention + n * kernels);
  });
}

template <class T>
void attention_forward(const HeadWidths& widths, const T* products, const T* bias, const double* temperature,
                       T* channel, T* filter, T* spatial, T* kernel, std::int64_t samples, Stream stream) {
  const std::int64_t all = widths.all(), sigmoids = widths.sigmoids();
  simt::for_each_element(samples, sigmoids, stream, [=] OMNI_HOST_DEVICE(std::int64_t n, std::int64_t j) {
    const T value = sigmoid((products[n * all + j] + bias[j]) / static_cast<T>(*temperature));
    const std::int64_t of_filter = j - widths.channel, of_spatial = of_filter - widths.filter;
    if (of_filter < 0)
      channel[n * widths.channel + j] = value;
    else if (of_spatial < 0)
      filter[n * widths.filter + of_filter] = value;
    else
      spatial[n * widths.spatial + of_spatial] = value;
  });
  if (widths.kernel == 0) return;
  simt::for_each_index(samples, stream, [=] OMNI_HOST_DEVICE(std::int64_t n) {
    const T* const z = products + n * all + sigmoids;
    const T* const b = bias + sigmoids;
    softmax([z, b](std::int64_t k) { return z[k] + b[k]; }, widths.kernel, static_cast<T>(*temperature),
            kernel + n * widths.kernel);
  });
}

template <class T>
void kernel_attention_backward(const T* weighted_kst, const T* attention, const double* temperature,
                               T* d_kernel_logits, bool accumulate, T* weighted_spatial, std::int64_t samples,
                               std::int64_t kernels, std::int64_t taps, Stream stream) {
  expect(d_kernel_logits == nullptr || attention != nullptr, "attention",
         "expected the kernel attention where its gradient is wanted, got none");
  if (d_kernel_logits != nullptr) {
    simt::for_each_element(samples, kernels, stream, [=] OMNI_HOST_DEVICE(std::int64_t n, std::int64_t k) {
      const T* const q = weighted_kst + n * kernels * taps;
      double of_kernel = 0, of_all = 0;  // their difference cancels where one kernel has most of the attention
      for (std::int64_t i = 0; i < kernels * taps; ++i) of_all += q[i];
      for (std::int64_t i = k * taps; i < (k + 1) * taps; ++i) of_kernel += q[i];
      T& target = d_kernel_logits[n * kernels + k];
      const T gradient = static_cast<T>((of_kernel - attention[n * kernels + k] * of_all) / *temperature);
      target = accumulate ? target + gradient : gradient;
    });
  }
  if (weighted_spatial != nullptr) {
    simt::for_each_element(samples, taps, stream, [=] OMNI_HOST_DEVICE(std::int64_t n, std::int64_t tap) {
      const T* const q = weighted_kst + n * kernels * taps + tap;
      T sum = 0;
      for (std::int64_t k = 0; k < kernels; ++k) sum += q[k * taps];
      weighted_spatial[n * taps + tap] = sum;
    });
  }
}

#define OMNICONV_INSTANTIATE(T)                                                                                        \
  template void sigmoid_attention_forward(const T*, const double*, T*, std::int64_t, Stream);                          \
  template void sigmoid_attention_backward(const T*, const double*, const T*, T*, std::int64_t, bool, Stream);         \
  template void softmax_attention_forward(const T*, const double*, T*, std::int64_t, std::int64_t, Stream);            \
  template void attention_forward(const HeadWidths&, const T*, const T*, const double*, T*, T*, T*, T*, std::int64_t,  \
                                  Stream);                                                                             \
  template void kernel_attention_backward(const T*, const T*, const double*, T*, bool, T*, std::int64_t, std::int64_t, \
                                          std::int64_t, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
