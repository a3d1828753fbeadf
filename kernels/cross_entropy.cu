#include "kernels/cross_entropy.h"

#include <cmath>

#include "kernels/simt/simt.h"

namespace omniconv::kernels {

using namespace omniconv::simt;

namespace {

template <class T>
struct LogSumExp {
  T largest;
  T sum;  // Σ exp(z - largest)

  OMNI_HOST_DEVICE static LogSumExp of(const T* z, std::int64_t classes) {
    LogSumExp result{z[0], 0};
    for (std::int64_t c = 1; c < classes; ++c) result.largest = z[c] > result.largest ? z[c] : result.largest;
    for (std::int64_t c = 0; c < classes; ++c) result.sum += exp(z[c] - result.largest);
    return result;
  }
};

// One thread adds up in sample order: a batch has a few hundred samples.
template <class T>
OMNI_KERNEL void total_kernel(const T* logits, const std::int32_t* labels, const T* sample_loss, T* loss,
                              ClassificationTotals* totals, std::int64_t samples, std::int64_t classes) {
  double sum = 0, correct = 0;
  for (std::int64_t n = 0; n < samples; ++n) {
    const T* z = logits + n * classes;
    std::int64_t prediction = 0;
    for (std::int64_t c = 1; c < classes; ++c) prediction = z[c] > z[prediction] ? c : prediction;
    sum += sample_loss[n];
    correct += prediction == labels[n] ? 1 : 0;
  }
  loss[0] = static_cast<T>(sum / static_cast<double>(samples));
  if (totals) {
    totals->loss_sum += sum;
    totals->correct += correct;
    totals->count += static_cast<double>(samples);
  }
}

}  // namespace

template <class T>
void cross_entropy_forward(const T* logits, const std::int32_t* labels, T* loss, T* sample_loss,
                           ClassificationTotals* totals, std::int64_t samples, std::int64_t classes, Stream stream) {
  for_each_index(samples, stream, [=] OMNI_HOST_DEVICE(std::int64_t n) {
    const T* z = logits + n * classes;
    const LogSumExp<T> exponentials = LogSumExp<T>::of(z, classes);
    sample_loss[n] = log(exponentials.sum) + (exponentials.largest - z[labels[n]]);
  });
  launch(total_kernel<T>, {1}, {1}, 0, stream, logits, labels, sample_loss, loss, totals, samples, classes);
}

template <class T>
void cross_entropy_backward(const T* logits, const std::int32_t* labels, const T* d_loss, T* d_logits,
                            std::int64_t samples, std::int64_t classes, bool accumulate, Stream stream) {
  for_each_index(samples, stream, [=] OMNI_HOST_DEVICE(std::int64_t n) {
    const T* z = logits + n * classes;
    const LogSumExp<T> exponentials = LogSumExp<T>::of(z, classes);
    const T scale = d_loss[0] / static_cast<T>(samples);
    for (std::int64_t c = 0; c < classes; ++c) {
      const T probability = exp(z[c] - exponentials.largest) / exponentials.sum;
      const T gradient = scale * (probability - (c == labels[n] ? T(1) : T(0)));
      T& target = d_logits[n * classes + c];
      target = accumulate ? target + gradient : gradient;
    }
  });
}

#define OMNICONV_INSTANTIATE(T)                                                                                     \
  template void cross_entropy_forward(const T*, const std::int32_t*, T*, T*, ClassificationTotals*, std::int64_t,   \
                                      std::int64_t, Stream);                                                        \
  template void cross_entropy_backward(const T*, const std::int32_t*, const T*, T*, std::int64_t, std::int64_t,     \
                                       bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
