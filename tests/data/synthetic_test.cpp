// The synthetic data set: the same everywhere, balanced, and out of reach of a linear classifier.
#include "data/synthetic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <set>

#include "kernels/error.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

constexpr std::size_t classes = 10;
constexpr std::size_t pixels = 3072;

/// FNV-1a.
std::uint64_t hash_of(const std::vector<std::uint8_t>& bytes) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001B3;
  return hash;
}

/// Test accuracy of softmax regression on pixels, trained by plain SGD.
double linear_accuracy(const ImageData& data, int epochs) {
  const auto input = [](const ImageSet& set, std::size_t image, std::size_t pixel) {
    return (static_cast<float>(set.images[image * pixels + pixel]) - 127.5f) / 127.5f;
  };
  std::vector<float> weight(classes * pixels);
  std::array<float, classes> bias{};
  std::vector<float> x(pixels);
  const auto probabilities = [&](const ImageSet& set, std::size_t image) {
    for (std::size_t p = 0; p < pixels; ++p) x[p] = input(set, image, p);
    std::array<float, classes> scores = bias;
    for (std::size_t c = 0; c < classes; ++c) {
      for (std::size_t p = 0; p < pixels; ++p) scores[c] += weight[c * pixels + p] * x[p];
    }
    const float most = *std::max_element(scores.begin(), scores.end());
    float sum = 0;
    for (float& score : scores) sum += score = std::exp(score - most);
    for (float& score : scores) score /= sum;
    return scores;
  };
  constexpr float rate = 1e-3f;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    for (std::size_t i = 0; i < data.train.labels.size(); ++i) {
      std::array<float, classes> gradient = probabilities(data.train, i);
      gradient[data.train.labels[i]] -= 1;
      for (std::size_t c = 0; c < classes; ++c) {
        bias[c] -= rate * gradient[c];
        for (std::size_t p = 0; p < pixels; ++p) weight[c * pixels + p] -= rate * gradient[c] * x[p];
      }
    }
  }
  std::size_t right = 0;
  for (std::size_t i = 0; i < data.test.labels.size(); ++i) {
    const auto scores = probabilities(data.test, i);
    right += std::max_element(scores.begin(), scores.end()) - scores.begin() == data.test.labels[i];
  }
  return static_cast<double>(right) / static_cast<double>(data.test.labels.size());
}

TEST_CASE("the synthetic set is a function of its seed, byte for byte") {
  const ImageData data = make_synthetic(0, 100, 50);
  CHECK(data == make_synthetic(0, 100, 50));
  CHECK(hash_of(data.train.images) == 0xF1DC9451956E7BCF);
  CHECK(hash_of(data.test.images) == 0x9D826E99BF0C701C);
  CHECK(data.train.images != make_synthetic(1, 100, 50).train.images);
  // An image does not depend on how many there are.
  const ImageData larger = make_synthetic(0, 200, 50);
  CHECK(std::equal(data.train.images.begin(), data.train.images.end(), larger.train.images.begin()));
}

TEST_CASE("synthetic images are balanced, distinct and never clipped") {
  const ImageData data = make_synthetic(0, 1000, 500);
  REQUIRE(data.class_names.size() == classes);
  std::set<std::string> distinct;  // of the pixels; GCC 12 warns wrongly of sets of byte vectors
  for (const ImageSet* set : {&data.train, &data.test}) {
    REQUIRE(set->images.size() == set->labels.size() * pixels);
    for (std::size_t c = 0; c < classes; ++c) {
      CHECK(std::count(set->labels.begin(), set->labels.end(), c) == set->count() / static_cast<std::int64_t>(classes));
    }
    const auto [low, high] = std::minmax_element(set->images.begin(), set->images.end());
    CHECK(*low > 0);
    CHECK(*high < 255);
    for (auto image = set->images.begin(); image != set->images.end(); image += pixels) {
      distinct.emplace(image, image + pixels);
    }
  }
  CHECK(distinct.size() == 1500);
}

TEST_CASE("the mean image of every synthetic class is the same") {
  const ImageData data = make_synthetic(0, 10'000, 1);
  std::array<double, classes> mean{};
  for (std::size_t i = 0; i < data.train.labels.size(); ++i) {
    for (std::size_t p = 0; p < pixels; ++p) mean[data.train.labels[i]] += data.train.images[i * pixels + p];
  }
  // Colours lie in [56, 199], so an image's brightness deviates by about 20 and the mean of 1000 images by under 1.
  for (const double sum : mean) CHECK(std::abs(sum / (1000.0 * pixels) - 127.5) < 3);
}

TEST_CASE("a linear classifier on pixels does not learn the synthetic set") {
  const double accuracy = linear_accuracy(make_synthetic(0, 2000, 1000), 5);
  INFO("accuracy " << accuracy);
  CHECK(accuracy < 0.5);
}

TEST_CASE("a synthetic set without images is refused") {
  CHECK_THAT(message_of<Error>([] { make_synthetic(0, 0, 1); }),
             ContainsSubstring("[synthetic] expected at least 1 image in each set, got 0 for training"));
  CHECK_THAT(message_of<Error>([] { make_synthetic(0, 1, -1); }), ContainsSubstring("and -1 for testing"));
}

}  // namespace
}  // namespace omniconv::test
