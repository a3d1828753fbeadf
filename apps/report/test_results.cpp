#include "apps/report/test_results.h"

#include <algorithm>

#include "kernels/error.h"

namespace omniconv {
namespace {

/// One image of a set, from planes to pixels.
Picture picture_of(const ImageSet& set, std::int64_t index) {
  const std::int64_t pixels = set.extent * set.extent;
  Picture picture{set.extent, set.extent, {}};
  for (std::int64_t p = 0; p < pixels; ++p)
    for (std::int64_t c = 0; c < image_channels; ++c)
      picture.pixels.push_back(set.images[static_cast<std::size_t>((index * image_channels + c) * pixels + p)]);
  return picture;
}

}  // namespace

TestResults test_results(std::span<const double> logits, const ImageSet& set,
                         const std::vector<std::string>& class_names) {
  const std::size_t classes = class_names.size();
  expect(logits.size() == set.labels.size() * classes, "report", "expected logits of ", set.labels.size(),
         " images and ", classes, " classes, got ", logits.size());
  TestResults results{class_names, std::vector<std::int64_t>(classes * classes), {}, {}};
  for (std::size_t i = 0; i < set.labels.size(); ++i) {
    const Prediction prediction = most_probable(logits.subspan(i * classes, classes), 1).front();
    const std::size_t truth = set.labels[i];
    ++results.confusion[truth * classes + static_cast<std::size_t>(prediction.label)];
    if (prediction.label != static_cast<std::int64_t>(truth))
      results.mistakes.push_back({static_cast<std::int64_t>(i), static_cast<std::int64_t>(truth), prediction});
  }
  std::stable_sort(results.mistakes.begin(), results.mistakes.end(), [](const Mistake& a, const Mistake& b) {
    return a.prediction.probability > b.prediction.probability;
  });
  results.mistakes.resize(std::min(results.mistakes.size(), most_mistakes));
  for (const Mistake& mistake : results.mistakes) results.pictures.push_back(picture_of(set, mistake.image));
  return results;
}

}  // namespace omniconv
