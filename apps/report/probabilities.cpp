#include "apps/report/probabilities.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace omniconv {

std::vector<Prediction> most_probable(std::span<const double> logits, std::int64_t top) {
  std::vector<Prediction> predictions;
  const double largest = logits.empty() ? 0 : *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) {
    expect(std::isfinite(logit), "logits", "expected finite logits, got ", logit,
           ": the checkpoint is of a run that diverged");
    predictions.push_back({static_cast<std::int64_t>(predictions.size()), std::exp(logit - largest)});
    sum += predictions.back().probability;
  }
  for (Prediction& prediction : predictions) prediction.probability /= sum;
  std::stable_sort(predictions.begin(), predictions.end(),
                   [](const Prediction& a, const Prediction& b) { return a.probability > b.probability; });
  predictions.resize(std::min(predictions.size(), static_cast<std::size_t>(top)));
  return predictions;
}

}  // namespace omniconv
