#include "kernels/augment.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "kernels/error.h"
#include "tests/device_array.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

using kernels::BatchShape;
using kernels::Normalisation;

/// Images whose pixels name their place, as far as a byte can.
std::vector<std::uint8_t> some_images(std::int64_t count, const BatchShape& shape) {
  std::mt19937 random(5);
  std::vector<std::uint8_t> images(static_cast<std::size_t>(count * shape.channels * shape.height * shape.width));
  for (std::uint8_t& pixel : images) pixel = static_cast<std::uint8_t>(1 + random() % 255);  // never black
  return images;
}

template <class T>
struct Batch {
  std::vector<T> images;
  std::vector<std::int32_t> labels;
};

template <class T>
Batch<T> gather(BatchShape shape, const std::vector<std::uint8_t>& images, const std::vector<std::int32_t>& indices,
                bool augment, std::uint64_t seed = 1, std::uint64_t epoch = 0) {
  shape.samples = static_cast<std::int64_t>(indices.size());
  const std::int64_t image_size = shape.channels * shape.height * shape.width;
  std::vector<std::uint8_t> labels(images.size() / static_cast<std::size_t>(image_size));
  std::iota(labels.begin(), labels.end(), std::uint8_t{3});
  const DeviceArray<std::uint8_t> device_images(images), device_labels(labels);
  const DeviceArray<std::int32_t> device_indices(indices), output_labels(shape.samples);
  const DeviceArray<T> output(shape.samples * image_size);
  kernels::gather_batch<T>(shape, Normalisation{}, device_images, device_labels, device_indices, augment, seed, epoch,
                           output, output_labels, main_stream());
  return {output.to_host(), output_labels.to_host()};
}

/// Image `index`, shifted and mirrored, as gather_batch should make it.
std::vector<double> expected_image(const BatchShape& s, const std::vector<std::uint8_t>& images, std::int64_t index,
                                   std::int64_t down, std::int64_t right, bool mirrored) {
  const Normalisation n;
  std::vector<double> image;
  for (std::int64_t h = 0; h < s.height; ++h)
    for (std::int64_t w = 0; w < s.width; ++w)
      for (std::int64_t c = 0; c < s.channels; ++c) {
        const std::int64_t from_h = h + down, from_w = (mirrored ? s.width - 1 - w : w) + right;
        const bool inside = from_h >= 0 && from_h < s.height && from_w >= 0 && from_w < s.width;
        const double pixel = inside ? images[((index * s.channels + c) * s.height + from_h) * s.width + from_w] : 0;
        image.push_back((pixel / 255 - n.mean[c]) / n.deviation[c]);
      }
  return image;
}

TEMPLATE_TEST_CASE("a batch gathers, normalises and transposes", KERNEL_TAGS, float, double, bf16, f16) {
  BatchShape shape;
  std::tie(shape.channels, shape.height, shape.width) =
      GENERATE(table<std::int64_t, std::int64_t, std::int64_t>({{3, 32, 32}, {1, 5, 7}, {3, 1, 1}}));
  const auto images = some_images(5, shape);
  const std::vector<std::int32_t> indices = {4, 0, 4, 2};
  const auto batch = gather<TestType>(shape, images, indices, false);
  std::vector<double> expected;
  for (std::int32_t index : indices) {
    const auto image = expected_image(shape, images, index, 0, 0, false);
    expected.insert(expected.end(), image.begin(), image.end());
  }
  require_close(batch.images, expected, Tolerance::rounding<TestType>());
  CHECK(batch.labels == std::vector<std::int32_t>{7, 3, 7, 5});
}

TEST_CASE("an augmented image is a crop of the padded one, mirrored or not, and all of them occur", KERNEL_TAGS) {
  BatchShape shape{.samples = 0, .channels = 2, .height = 6, .width = 5, .padding = 2};
  const std::int64_t count = 600;
  const auto images = some_images(count, shape);
  std::vector<std::int32_t> indices(count);
  std::iota(indices.begin(), indices.end(), 0);
  const auto batch = gather<double>(shape, images, indices, true);
  const std::int64_t size = shape.channels * shape.height * shape.width;
  std::vector<int> seen(2 * 5 * 5);
  for (std::int64_t n = 0; n < count; ++n) {
    const auto begin = batch.images.begin() + n * size;
    int matches = 0;
    for (int which = 0; which < 50; ++which) {
      const auto image = expected_image(shape, images, n, which / 10 - 2, which / 2 % 5 - 2, which % 2 == 1);
      const bool equal = std::equal(image.begin(), image.end(), begin,
                                    [](double a, double b) { return Tolerance::rounding<double>().holds(a, b); });
      matches += equal;
      seen[which] += equal;
    }
    REQUIRE(matches == 1);
  }
  // 12 of each are expected: none missing, none thrice as frequent.
  CHECK(*std::min_element(seen.begin(), seen.end()) >= 1);
  CHECK(*std::max_element(seen.begin(), seen.end()) <= 36);
}

TEST_CASE("augmentation depends on seed, epoch and image, and not on the place in the batch", KERNEL_TAGS) {
  const BatchShape shape;
  const auto images = some_images(8, shape);
  const auto one = [&](std::int32_t index, std::uint64_t seed, std::uint64_t epoch) {
    return gather<float>(shape, images, {index}, true, seed, epoch).images;
  };
  const auto batch = gather<float>(shape, images, {7, 3, 5}, true, 1, 2);
  const std::size_t size = 3 * 32 * 32;
  CHECK(one(3, 1, 2) == std::vector<float>(batch.images.begin() + size, batch.images.begin() + 2 * size));
  std::set<std::vector<float>> by_epoch, by_seed;
  for (std::uint64_t i = 0; i < 10; ++i) {
    by_epoch.insert(one(3, 1, i));
    by_seed.insert(one(3, i, 2));
  }
  CHECK(by_epoch.size() >= 8);  // of 162 crops two may coincide
  CHECK(by_seed.size() >= 8);
}

TEST_CASE("a batch refuses what are no images", "[kernels]") {
  const auto refuse = [](const BatchShape& shape) {
    kernels::gather_batch<float>(shape, {}, nullptr, nullptr, nullptr, false, 0, 0, nullptr, nullptr, {});
  };
  CHECK_THROWS_WITH(refuse({.samples = 1, .channels = 4}), "[augment] expected 1 to 3 channels, got 4");
  CHECK_THROWS_WITH(refuse({.samples = 1, .padding = -1}),
                    "[augment] expected images of at least 1 pixel and no negative padding, got padding -1 around "
                    "shape [1, 3, 32, 32]");
}

}  // namespace
}  // namespace omniconv::test
