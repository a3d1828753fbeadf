// What a model makes of the test images: which classes it takes for which, and where it is most surely wrong.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "apps/report/probabilities.h"
#include "data/images.h"
#include "data/picture.h"

namespace omniconv {

struct Mistake {
  std::int64_t image = 0;  ///< index
  std::int64_t truth = 0;
  Prediction prediction;
};

struct TestResults {
  std::vector<std::string> class_names;  ///< [classes]
  std::vector<std::int64_t> confusion;   ///< [classes, classes]: images of a class (row) taken for another (column)
  std::vector<Mistake> mistakes;         ///< the most confident first, at most `most_mistakes`
  std::vector<Picture> pictures;         ///< those of the mistakes
};

inline constexpr std::size_t most_mistakes = 24;

/// `logits` [images, classes] of the images of `set`.
TestResults test_results(std::span<const double> logits, const ImageSet& set,
                         const std::vector<std::string>& class_names);

}  // namespace omniconv
