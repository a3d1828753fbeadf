#include "kernels/cross_entropy.h"

#include <cmath>

#include "kernels/error.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {
namespace {

template <class T>
struct LogSumExp {
  T largest;
  T sum;  // of exp(logit - largest), at least 1

  OMNI_HOST_DEVICE LogSumExp(const T* logits, std::int64_t classes) : largest(logits[0]), sum(0) {
    for (std::int64_t c = 1; c < classes; ++c) largest = logits[c] > largest ? logits[c] : largest;
    for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(logits[c] - largest);
  }
};

/// In one thread, because sums run in sample order.
template <class T>
OMNI_KERNEL void total_kernel(const T* sample_loss, T* loss, ClassificationTotals* totals, std::int64_t samples) {
  double loss_sum = 0, correct = 0;
  for (std::int64_t n = 0; n < samples; ++n) {
    loss_sum += std::abs(sample_loss[n]);
    correct += std::signbit(sample_loss[n]) ? 0 : 1;
  }
  const double count = static_cast<double>(samples);
  *loss = static_cast<T>(loss_sum / count);
  if (totals == nullptr) return;
  totals->loss_sum += loss_sum;
  totals->correct += correct;
  totals->count += count;
}

void check_shape(std::int64_t samples, std::int64_t classes) {
  expect(samples >= 1 && classes >= 1, "cross_entropy", "expected at least 1 sample and 1 class, got logits ",
         std::vector{samples, classes});
}

}  // namespace

template <class T>
void cross_entropy_forward(const T* logits, const std::int32_t* labels, T* loss, T* sample_loss,
                           ClassificationTotals* totals, std::int64_t samples, std::int64_t classes, Stream stream) {
  check_shape(samples, classes);
  simt::for_each_index(samples, stream, [=] OMNI_HOST_DEVICE(std::int64_t n) {
    const T* const z = logits + n * classes;
    const LogSumExp<T> total(z, classes);
    std::int64_t prediction = 0;
    for (std::int64_t c = 1; c < classes; ++c) prediction = z[c] > z[prediction] ? c : prediction;
    const std::int32_t label = labels[n];
    // A loss is never negative, which leaves its sign to say whether the prediction was right.
    const T sign = prediction == label ? T(1) : T(-1);
    const bool is_class = label >= 0 && label < classes;
    const T loss_of_sample = is_class ? std::log(total.sum) - (z[label] - total.largest) : static_cast<T>(NAN);
    sample_loss[n] = std::copysign(loss_of_sample, sign);
  });
  simt::launch(total_kernel<T>, {1}, {1}, 0, stream, sample_loss, loss, totals, samples);
}

template <class T>
void cross_entropy_backward(const T* logits, const std::int32_t* labels, const T* d_loss, T* d_logits,
                            std::int64_t samples, std::int64_t classes, bool accumulate, Stream stream) {
  check_shape(samples, classes);
  simt::for_each_index(samples, stream, [=] OMNI_HOST_DEVICE(std::int64_t n) {
    const T* const z = logits + n * classes;
    T* const target = d_logits + n * classes;
    const LogSumExp<T> total(z, classes);
    const T scale = *d_loss / static_cast<T>(samples);
    for (std::int64_t c = 0; c < classes; ++c) {
      const T probability = std::exp(z[c] - total.largest) / total.sum;
      const T gradient = scale * (probability - (c == labels[n] ? T(1) : T(0)));
      target[c] = accumulate ? target[c] + gradient : gradient;
    }
  });
}

#define OMNICONV_INSTANTIATE(T)                                                                                    \
  template void cross_entropy_forward(const T*, const std::int32_t*, T*, T*, ClassificationTotals*, std::int64_t,  \
                                      std::int64_t, Stream);                                                       \
  template void cross_entropy_backward(const T*, const std::int32_t*, const T*, T*, std::int64_t, std::int64_t,    \
                                       bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
