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
using kernels::Flip;
using kernels::Mix;
using kernels::Normalisation;
using kernels::Variation;

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
  std::vector<std::int32_t> labels, other_labels;
};

Variation crops_and_flips(std::uint64_t seed = 1) {
  return {.crop = true, .flip = Flip::random, .seed = seed};
}

template <class T>
Batch<T> gather(BatchShape shape, const std::vector<std::uint8_t>& images, const std::vector<std::int32_t>& indices,
                Variation variation = {}, const Mix* mix = nullptr, std::int64_t epoch = 0) {
  shape.samples = static_cast<std::int64_t>(indices.size());
  const std::int64_t image_size = shape.channels * shape.height * shape.width;
  std::vector<std::uint8_t> labels(images.size() / static_cast<std::size_t>(image_size));
  std::iota(labels.begin(), labels.end(), std::uint8_t{3});
  const DeviceArray<std::uint8_t> device_images(images), device_labels(labels);
  const DeviceArray<std::int32_t> device_indices(indices), output_labels(shape.samples), other_labels(shape.samples);
  const DeviceArray<Mix> device_mix(1, mix != nullptr ? *mix : Mix{});
  const DeviceArray<T> output(shape.samples * image_size);
  const DeviceArray<std::int64_t> device_epoch(1, epoch);
  variation.epoch = device_epoch;
  kernels::gather_batch<T>(shape, Normalisation{}, device_images, device_labels, device_indices, variation,
                           mix != nullptr ? device_mix.data() : nullptr, output, output_labels, other_labels,
                           main_stream());
  return {output.to_host(), output_labels.to_host(), other_labels.to_host()};
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
        image.push_back((pixel / 255 - n.mean[c]) / n.standard_deviation[c]);
      }
  return image;
}

TEMPLATE_TEST_CASE("a batch gathers, normalises and transposes", KERNEL_TAGS, float, double, bf16, f16) {
  BatchShape shape;
  std::tie(shape.channels, shape.height, shape.width) =
      GENERATE(table<std::int64_t, std::int64_t, std::int64_t>({{3, 32, 32}, {1, 5, 7}, {3, 1, 1}}));
  const auto images = some_images(5, shape);
  const std::vector<std::int32_t> indices = {4, 0, 4, 2};
  const auto batch = gather<TestType>(shape, images, indices);
  std::vector<double> expected;
  for (std::int32_t index : indices) {
    const auto image = expected_image(shape, images, index, 0, 0, false);
    expected.insert(expected.end(), image.begin(), image.end());
  }
  require_close(batch.images, expected, Tolerance::rounding<TestType>());
  CHECK(batch.labels == std::vector<std::int32_t>{7, 3, 7, 5});
  CHECK(batch.other_labels == std::vector<std::int32_t>{5, 7, 3, 7});
}

TEST_CASE("an augmented image is a crop of the padded one, mirrored or not, and all of them occur", KERNEL_TAGS) {
  BatchShape shape{.samples = 0, .channels = 2, .height = 6, .width = 5, .padding = 2};
  const std::int64_t count = 600;
  const auto images = some_images(count, shape);
  std::vector<std::int32_t> indices(count);
  std::iota(indices.begin(), indices.end(), 0);
  const auto batch = gather<double>(shape, images, indices, crops_and_flips());
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
  const auto one = [&](std::int32_t index, std::uint64_t seed, std::int64_t epoch) {
    return gather<float>(shape, images, {index}, crops_and_flips(seed), nullptr, epoch).images;
  };
  const auto batch = gather<float>(shape, images, {7, 3, 5}, crops_and_flips(1), nullptr, 2);
  const std::size_t size = 3 * 32 * 32;
  CHECK(one(3, 1, 2) == std::vector<float>(batch.images.begin() + size, batch.images.begin() + 2 * size));
  std::set<std::vector<float>> by_epoch, by_seed;
  for (std::uint64_t i = 0; i < 10; ++i) {
    by_epoch.insert(one(3, 1, static_cast<std::int64_t>(i)));
    by_seed.insert(one(3, i, 2));
  }
  CHECK(by_epoch.size() >= 8);  // of 162 crops two may coincide
  CHECK(by_seed.size() >= 8);
}

TEST_CASE("a gathering repeated with equal arguments varies by the epoch that lies on the device", KERNEL_TAGS) {
  BatchShape shape;
  shape.samples = 3;
  const std::int64_t size = 3 * 32 * 32;
  const auto images = some_images(3, shape);
  const DeviceArray<std::uint8_t> device_images(images), labels(3);
  const DeviceArray<std::int32_t> indices({2, 0, 1}), output_labels(3);
  const DeviceArray<std::int64_t> epoch(1, -1);
  const DeviceArray<float> output(3 * size);
  Variation variation = crops_and_flips();
  variation.epoch = epoch;
  for (const std::int64_t value : {0, 1, 7}) {
    copy_to_device(epoch, &value, sizeof(value));
    kernels::gather_batch<float>(shape, Normalisation{}, device_images, labels, indices, variation, nullptr, output,
                                 output_labels, nullptr, main_stream());
    CHECK(output.to_host() == gather<float>(shape, images, {2, 0, 1}, crops_and_flips(), nullptr, value).images);
    if (value != 0) CHECK(output.to_host() != gather<float>(shape, images, {2, 0, 1}, crops_and_flips()).images);
  }
}

TEST_CASE("an alternating flip is drawn once and then turns in every epoch", KERNEL_TAGS) {
  BatchShape shape{.samples = 0, .channels = 3, .height = 4, .width = 5, .padding = 1};
  const std::int64_t count = 64, size = shape.channels * shape.height * shape.width;
  const auto images = some_images(count, shape);
  std::vector<std::int32_t> indices(count);
  std::iota(indices.begin(), indices.end(), 0);
  std::int64_t mirrored_first = 0;
  for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
    const auto first = gather<double>(shape, images, indices, {.flip = Flip::alternating, .seed = 3});
    const auto batch = gather<double>(shape, images, indices, {.flip = Flip::alternating, .seed = 3}, nullptr, epoch);
    for (std::int64_t n = 0; n < count; ++n) {
      const auto is_mirrored = [&](const Batch<double>& of) {
        const std::vector<double> image(of.images.begin() + n * size, of.images.begin() + (n + 1) * size);
        const bool plain = image == gather<double>(shape, images, {static_cast<std::int32_t>(n)}).images;
        if (!plain) require_close(image, expected_image(shape, images, n, 0, 0, true), Tolerance::rounding<double>());
        return !plain;
      };
      REQUIRE(is_mirrored(batch) == (is_mirrored(first) != (epoch % 2 == 1)));
      mirrored_first += epoch == 0 && is_mirrored(batch);
    }
  }
  CHECK(mirrored_first >= count / 4);
  CHECK(mirrored_first <= 3 * count / 4);
}

TEST_CASE("a given view shifts and mirrors every image alike", KERNEL_TAGS) {
  BatchShape shape{.samples = 0, .channels = 3, .height = 6, .width = 5, .padding = 1};
  const auto images = some_images(3, shape);
  const auto batch = gather<double>(shape, images, {2, 0}, {.down = 1, .right = -2, .mirrored = true});
  std::vector<double> expected;
  for (const std::int64_t index : {2, 0}) {
    const auto image = expected_image(shape, images, index, 1, -2, true);
    expected.insert(expected.end(), image.begin(), image.end());
  }
  require_close(batch.images, expected, Tolerance::rounding<double>());
}

TEST_CASE("cutout blanks one square of each image, anywhere, to the mean colour", KERNEL_TAGS) {
  const BatchShape shape{.samples = 0, .channels = 2, .height = 7, .width = 6, .padding = 1};
  const std::int64_t count = 400, pixels = shape.height * shape.width;
  const std::int64_t side = GENERATE(1, 3, 4);
  const auto images = some_images(count, shape);
  std::vector<std::int32_t> indices(count);
  std::iota(indices.begin(), indices.end(), 0);
  const auto plain = gather<double>(shape, images, indices);
  const auto batch = gather<double>(shape, images, indices, {.cutout = side, .seed = 2});
  std::set<std::pair<std::int64_t, std::int64_t>> centres;
  for (std::int64_t n = 0; n < count; ++n) {
    std::set<std::pair<std::int64_t, std::int64_t>> found;
    for (std::int64_t y = 0; y < shape.height; ++y)
      for (std::int64_t x = 0; x < shape.width; ++x) {
        bool fits = true;
        for (std::int64_t i = 0; i < pixels; ++i) {
          const std::int64_t h = i / shape.width - (y - side / 2), w = i % shape.width - (x - side / 2);
          const bool cut = h >= 0 && h < side && w >= 0 && w < side;
          for (std::int64_t c = 0; c < shape.channels; ++c) {
            const std::size_t at = static_cast<std::size_t>((n * pixels + i) * shape.channels + c);
            fits = fits && batch.images[at] == (cut ? 0 : plain.images[at]);
          }
        }
        if (fits) found.insert({y, x});
      }
    REQUIRE(found.size() == 1);
    centres.insert(*found.begin());
  }
  CHECK(centres.size() == static_cast<std::size_t>(pixels));
}

TEMPLATE_TEST_CASE("images are blended with their partners or show a box of them", KERNEL_TAGS, float, double, bf16) {
  const BatchShape shape{.samples = 0, .channels = 3, .height = 5, .width = 4, .padding = 1};
  const auto images = some_images(6, shape);
  const std::vector<std::int32_t> indices = {5, 1, 2};
  const Mix mix = GENERATE(Mix{.own_share = 0.3}, Mix{.own_share = 0.7, .top = 1, .bottom = 4, .left = 2, .right = 4},
                           Mix{.own_share = 1});
  const auto plain = gather<double>(shape, images, indices, crops_and_flips());
  const auto mixed = gather<TestType>(shape, images, indices, crops_and_flips(), &mix);
  std::vector<double> expected;
  const std::int64_t row = shape.width * shape.channels, size = shape.height * row;
  for (std::int64_t n = 0; n < 3; ++n)
    for (std::int64_t i = 0; i < size; ++i) {
      const double own = plain.images[static_cast<std::size_t>(n * size + i)];
      const double partner = plain.images[static_cast<std::size_t>((2 - n) * size + i)];
      const double h = static_cast<double>(i / row), w = static_cast<double>(i % row / shape.channels);
      const bool in_box = h >= mix.top && h < mix.bottom && w >= mix.left && w < mix.right;
      const double blend = mix.own_share * own + (1 - mix.own_share) * partner;
      expected.push_back(mix.bottom > 0 ? (in_box ? partner : own) : blend);
    }
  require_close(mixed.images, expected, Tolerance::rounding<TestType>());
  CHECK(mixed.labels == std::vector<std::int32_t>{8, 4, 5});
  CHECK(mixed.other_labels == std::vector<std::int32_t>{5, 4, 8});
}

TEST_CASE("images of the batch alone, in its order, give what those of the whole data set give", KERNEL_TAGS) {
  BatchShape shape{.samples = 0, .channels = 3, .height = 6, .width = 5, .padding = 2};
  const std::size_t size = 3 * 6 * 5;
  const auto images = some_images(6, shape);
  const std::vector<std::int32_t> indices = {5, 1, 2, 5, 0};
  std::vector<std::uint8_t> batch_images;
  for (const std::int32_t index : indices) {
    const auto begin = images.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(index) * size);
    batch_images.insert(batch_images.end(), begin, begin + static_cast<std::ptrdiff_t>(size));
  }
  const Mix mix = GENERATE(Mix{.own_share = 0.3}, Mix{.own_share = 0.7, .top = 1, .bottom = 4, .left = 1, .right = 4});
  Variation variation = crops_and_flips();
  variation.cutout = 2;
  for (const Mix* const used : {static_cast<const Mix*>(nullptr), &mix}) {
    shape.stored = kernels::Stored::data_set;
    const auto expected = gather<double>(shape, images, indices, variation, used, 3);
    shape.stored = kernels::Stored::batch;
    // Labels are those of the data set, six of them: behind the images of the batch lies one that nobody asks for.
    std::vector<std::uint8_t> padded = batch_images;
    padded.resize(images.size());
    const auto staged = gather<double>(shape, padded, indices, variation, used, 3);
    CHECK(staged.images == expected.images);
    CHECK(staged.labels == expected.labels);
    CHECK(staged.other_labels == expected.other_labels);
  }
}

TEST_CASE("a batch refuses what are no images", "[kernels]") {
  const auto refuse = [](const BatchShape& shape, const Variation& variation = {}) {
    kernels::gather_batch<float>(shape, {}, nullptr, nullptr, nullptr, variation, nullptr, nullptr, nullptr, nullptr,
                                 main_stream());
  };
  CHECK_THROWS_WITH(refuse({.samples = 1}, {.cutout = -1}), "[augment] expected a cutout of at least 0 pixels, got -1");
  CHECK_THROWS_WITH(refuse({.samples = 1, .channels = 4}), "[augment] expected 1 to 3 channels, got 4");
  CHECK_THROWS_WITH(refuse({.samples = 1, .padding = -1}),
                    "[augment] expected images of at least 1 pixel and no negative padding, got padding -1 around "
                    "shape [1, 3, 32, 32]");
}

}  // namespace
}  // namespace omniconv::test
