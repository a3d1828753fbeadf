#include "kernels/attention.h"

#include "kernels/attention_math.h"
#include "kernels/error.h"
#include "kernels/half.h"

namespace omniconv::kernels {

template <class T>
void sigmoid_attention_forward(const T* logits, const double* temperature, T* attention, std::int64_t count,
                               Stream stream) {
  simt::for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    attention[i] = sigmoid(logits[i] / static_cast<T>(*temperature));
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

/// The sum of `count` values, each `stride` behind the one before.
template <class T>
OMNI_HOST_DEVICE double sum_of(const T* values, std::int64_t count, std::int64_t stride) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += values[i * stride];
  return sum;
}

template <class T>
void attention_backward(const LogitsGradient<T>& channel, const LogitsGradient<T>& filter,
                        const LogitsGradient<T>& spatial, const LogitsGradient<T>& kernel, const double* temperature,
                        std::int64_t samples, Stream stream) {
  const std::int64_t all = channel.width + filter.width + spatial.width + kernel.width;
  simt::for_each_element(samples, all, stream, [=] OMNI_HOST_DEVICE(std::int64_t n, std::int64_t j) {
    const std::int64_t of_filter = j - channel.width, of_spatial = of_filter - filter.width,
                       of_kernel = of_spatial - spatial.width;
    const LogitsGradient<T>& head = of_filter < 0    ? channel
                                    : of_spatial < 0 ? filter
                                    : of_kernel < 0  ? spatial
                                                     : kernel;
    const std::int64_t i = of_filter < 0 ? j : of_spatial < 0 ? of_filter : of_kernel < 0 ? of_spatial : of_kernel;
    const std::int64_t at = n * head.width + i;
    const T* const weighted = head.weighted + n * head.width * head.parts;
    T gradient;
    if (of_kernel < 0) {
      const T t = static_cast<T>(*temperature);
      gradient = sigmoid(-head.activation[at] / t) * static_cast<T>(sum_of(weighted + i, head.parts, head.width)) / t;
    } else {
      // In double: the difference cancels where one kernel has most of the attention.
      const double own = sum_of(weighted + i * head.parts, head.parts, 1);
      const double all = sum_of(weighted, head.width * head.parts, 1);
      gradient = static_cast<T>((own - head.activation[at] * all) / *temperature);
    }
    write(head.d_logits[at], gradient, head.accumulate);
  });
}

#define OMNICONV_INSTANTIATE(T)                                                                                       \
  template void sigmoid_attention_forward(const T*, const double*, T*, std::int64_t, Stream);                         \
  template void softmax_attention_forward(const T*, const double*, T*, std::int64_t, std::int64_t, Stream);           \
  template void attention_forward(const HeadWidths&, const T*, const T*, const double*, T*, T*, T*, T*, std::int64_t, \
                                  Stream);                                                                            \
  template void attention_backward(const LogitsGradient<T>&, const LogitsGradient<T>&, const LogitsGradient<T>&,      \
                                   const LogitsGradient<T>&, const double*, std::int64_t, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
