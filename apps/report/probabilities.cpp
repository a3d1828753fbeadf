#include "apps/report/probabilities.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace omniconv {

std::vector<Guess> most_probable(std::span<const double> logits, std::int64_t top) {
  std::vector<Guess> guesses;
  const double largest = logits.empty() ? 0 : *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) {
    expect(std::isfinite(logit), "logits", "expected finite logits, got ", logit,
           ": the checkpoint is of a run that diverged");
    guesses.push_back({static_cast<std::int64_t>(guesses.size()), std::exp(logit - largest)});
    sum += guesses.back().probability;
  }
  for (Guess& guess : guesses) guess.probability /= sum;
  std::stable_sort(guesses.begin(), guesses.end(),
                   [](const Guess& a, const Guess& b) { return a.probability > b.probability; });
  guesses.resize(std::min(guesses.size(), static_cast<std::size_t>(top)));
  return guesses;
}

}  // namespace omniconv
