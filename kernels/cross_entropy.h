// Softmax cross-entropy, its gradient, and the running totals of loss and accuracy.
#pragma once

#include <cstdint>

#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// Totals kept on the device between two reads: what an epoch's loss and accuracy are made of.
struct ClassificationTotals {
  double loss_sum = 0;
  double correct = 0;
  double count = 0;
};

/// What a sample should be predicted as: q_c = (1 - smoothing) · (s·[c == label] + (1 - s)·[c == other label])
/// + smoothing / C, with s = own_share[0], or 1 without other labels.
struct Targets {
  const std::int32_t* labels = nullptr;        ///< [N] in [0, C)
  const std::int32_t* other_labels = nullptr;  ///< [N] in [0, C), or none
  const double* own_share = nullptr;           ///< one double on the device, with other_labels
  double smoothing = 0;                        ///< in [0, 1)
  std::int64_t mean_over = 0;                  ///< samples M that the loss is the mean over, 0: the N that are given
};

/// loss[0] = 1/M Σ_n (logsumexp(logits[n]) - Σ_c q_nc · logits[n, c]). logits [N, C].
/// sample_loss [N] is scratch; a sample's prediction is its first largest logit, and a hit where that is the label of
/// the larger share; a label outside makes the loss NaN; totals (device memory, or nullptr) grow by Σ loss, hits and N.
/// Sums run in sample order.
template <class T>
void cross_entropy_forward(const T* logits, const Targets& targets, T* loss, T* sample_loss,
                           ClassificationTotals* totals, std::int64_t samples, std::int64_t classes, Stream stream);

/// d_logits[n, c] (+)= d_loss[0] / M · (softmax(logits[n])_c - q_nc).
template <class T>
void cross_entropy_backward(const T* logits, const Targets& targets, const T* d_loss, T* d_logits, std::int64_t samples,
                            std::int64_t classes, bool accumulate, Stream stream);

}  // namespace omniconv::kernels
