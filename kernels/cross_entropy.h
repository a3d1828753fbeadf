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

/// loss[0] = 1/N Σ_n (logsumexp(logits[n]) - logits[n, label_n]). logits [N, C], labels i32 [N] in [0, C).
/// sample_loss [N] is scratch; a sample's prediction is its first largest logit; a label outside makes the loss NaN;
/// totals (device memory, or nullptr) grow by Σ loss, hits and N. Sums run in sample order.
template <class T>
void cross_entropy_forward(const T* logits, const std::int32_t* labels, T* loss, T* sample_loss,
                           ClassificationTotals* totals, std::int64_t samples, std::int64_t classes, Stream stream);

/// d_logits[n, c] (+)= d_loss[0] / N · (softmax(logits[n])_c - [c == label_n]).
template <class T>
void cross_entropy_backward(const T* logits, const std::int32_t* labels, const T* d_loss, T* d_logits,
                            std::int64_t samples, std::int64_t classes, bool accumulate, Stream stream);

}  // namespace omniconv::kernels
