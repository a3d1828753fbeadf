// From logits to what a person asks: which classes, and how sure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace omniconv {

struct Prediction {
  std::int64_t label = 0;
  double probability = 0;  ///< softmax of the logits
};

/// The `top` most probable of the classes that `logits` are for (all there are at most), the most probable first, of
/// equals the one of lower number. @throws Error for logits that are not finite.
std::vector<Prediction> most_probable(std::span<const double> logits, std::int64_t top);

}  // namespace omniconv
