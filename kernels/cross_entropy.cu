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

/// The target of one sample: shares of its two labels, and of every class.
template <class T>
struct SampleTarget {
  std::int32_t label, other;
  T own_share, other_share, every_share;

  OMNI_HOST_DEVICE SampleTarget(const Targets& targets, std::int64_t sample, std::int64_t classes)
      : label(targets.labels[sample]), other(targets.other_labels == nullptr ? label : targets.other_labels[sample]) {
    const double share = targets.other_labels == nullptr ? 1 : *targets.own_share;
    own_share = static_cast<T>((1 - targets.smoothing) * share);
    other_share = static_cast<T>((1 - targets.smoothing) * (1 - share));
    every_share = static_cast<T>(targets.smoothing / static_cast<double>(classes));
  }
  OMNI_HOST_DEVICE bool is_valid(std::int64_t classes) const {
    return label >= 0 && label < classes && other >= 0 && other < classes;
  }
  OMNI_HOST_DEVICE std::int32_t main_label() const { return own_share >= other_share ? label : other; }
  OMNI_HOST_DEVICE T probability(std::int64_t c) const {
    return (c == label ? own_share : T(0)) + (c == other ? other_share : T(0)) + every_share;
  }
};

/// In one thread, because sums run in sample order.
template <class T>
OMNI_KERNEL void total_kernel(const T* sample_loss, T* loss, ClassificationTotals* totals, std::int64_t samples,
                              std::int64_t mean_over) {
  double loss_sum = 0, correct = 0;
  for (std::int64_t n = 0; n < samples; ++n) {
    loss_sum += std::abs(sample_loss[n]);
    correct += std::signbit(sample_loss[n]) ? 0 : 1;
  }
  *loss = static_cast<T>(loss_sum / static_cast<double>(mean_over));
  if (totals == nullptr) return;
  totals->loss_sum += loss_sum;
  totals->correct += correct;
  totals->count += static_cast<double>(samples);
}

OMNI_HOST_DEVICE std::int64_t divisor(const Targets& targets, std::int64_t samples) {
  return targets.mean_over == 0 ? samples : targets.mean_over;
}

void check_shape(std::int64_t samples, std::int64_t classes) {
  expect(samples >= 1 && classes >= 1, "cross_entropy", "expected at least 1 sample and 1 class, got logits ",
         std::vector{samples, classes});
}

}  // namespace

template <class T>
void cross_entropy_forward(const T* logits, const Targets& targets, T* loss, T* sample_loss,
                           ClassificationTotals* totals, std::int64_t samples, std::int64_t classes, Stream stream) {
  check_shape(samples, classes);
  simt::for_each_index(samples, stream, [=] OMNI_HOST_DEVICE(std::int64_t n) {
    const T* const z = logits + n * classes;
    const LogSumExp<T> total(z, classes);
    std::int64_t prediction = 0;
    for (std::int64_t c = 1; c < classes; ++c) prediction = z[c] > z[prediction] ? c : prediction;
    const SampleTarget<T> target(targets, n, classes);
    // A loss is never negative, which leaves its sign to say whether the prediction was right.
    const T sign = prediction == target.main_label() ? T(1) : T(-1);
    T loss_of_sample = static_cast<T>(NAN);
    if (target.is_valid(classes)) {
      loss_of_sample = std::log(total.sum) - target.own_share * (z[target.label] - total.largest);
      if (target.other_share > 0) loss_of_sample -= target.other_share * (z[target.other] - total.largest);
      if (target.every_share > 0)
        for (std::int64_t c = 0; c < classes; ++c) loss_of_sample -= target.every_share * (z[c] - total.largest);
    }
    sample_loss[n] = std::copysign(loss_of_sample, sign);
  });
  simt::launch(total_kernel<T>, {1}, {1}, 0, stream, sample_loss, loss, totals, samples,
               divisor(targets, samples));
}

template <class T>
void cross_entropy_backward(const T* logits, const Targets& targets, const T* d_loss, T* d_logits,
                            std::int64_t samples, std::int64_t classes, bool accumulate, Stream stream) {
  check_shape(samples, classes);
  simt::for_each_index(samples, stream, [=] OMNI_HOST_DEVICE(std::int64_t n) {
    const T* const z = logits + n * classes;
    T* const d_z = d_logits + n * classes;
    const SampleTarget<T> target(targets, n, classes);
    const LogSumExp<T> total(z, classes);
    const T scale = *d_loss / static_cast<T>(divisor(targets, samples));
    for (std::int64_t c = 0; c < classes; ++c) {
      const T probability = std::exp(z[c] - total.largest) / total.sum;
      const T gradient = scale * (probability - target.probability(c));
      d_z[c] = accumulate ? d_z[c] + gradient : gradient;
    }
  });
}

#define OMNICONV_INSTANTIATE(T)                                                                                    \
  template void cross_entropy_forward(const T*, const Targets&, T*, T*, ClassificationTotals*, std::int64_t,       \
                                      std::int64_t, Stream);                                                       \
  template void cross_entropy_backward(const T*, const Targets&, const T*, T*, std::int64_t, std::int64_t, bool,   \
                                       Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
