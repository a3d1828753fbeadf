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

OMNI_HOST_DEVICE inline bool is_class(std::int32_t label, std::int64_t classes) { return label >= 0 && label < classes; }

/// In one thread, because sums run in sample order.
template <class T>
OMNI_KERNEL void total_kernel(const T* logits, const std::int32_t* labels, T* loss, const T* sample_loss,
                              ClassificationTotals* totals, std::int64_t samples, std::int64_t classes) {
  double loss_sum = 0, correct = 0;
  for (std::int64_t n = 0; n < samples; ++n) loss_sum += sample_loss[n];
  *loss = static_cast<T>(loss_sum / static_cast<double>(samples));
  if (totals == nullptr) return;
  totals->loss_sum += loss_sum;
  totals->correct += correct;
  totals->count += static_cast<double>(samples);
}

}  // namespace
}  // namespace omniconv::kernels
