#include "data/hold_out.h"

#include "kernels/error.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

std::size_t bytes_per_image(const ImageSet& set) {
  return static_cast<std::size_t>(image_channels * set.extent * set.extent);
}

/// Images that are all of one byte, their number, with labels 0, 0, 1, 2 over and over.
ImageSet numbered_images(int count, std::int64_t extent = image_extent) {
  ImageSet set;
  set.extent = extent;
  for (int i = 0; i < count; ++i) {
    set.images.insert(set.images.end(), bytes_per_image(set), static_cast<std::uint8_t>(i));
    set.labels.push_back(static_cast<std::uint8_t>(i % 4 < 2 ? 0 : i % 4 - 1));
  }
  return set;
}

std::vector<int> numbers_of(const ImageSet& set) {
  std::vector<int> numbers;
  for (std::int64_t i = 0; i < set.count(); ++i) {
    const std::size_t bytes = bytes_per_image(set), begin = static_cast<std::size_t>(i) * bytes;
    const std::uint8_t number = set.images[begin];
    REQUIRE(set.images[begin + bytes - 1] == number);
    CHECK(set.labels[static_cast<std::size_t>(i)] == (number % 4 < 2 ? 0 : number % 4 - 1));
    numbers.push_back(number);
  }
  return numbers;
}

TEST_CASE("the last images are held out, and every image is on one side") {
  const std::int64_t extent = GENERATE(as<std::int64_t>(), 32, 8, 40);
  CAPTURE(extent);
  ImageSet set = numbered_images(8, extent);
  const ImageSet held = hold_out(set, 3, false, 3);
  CHECK(numbers_of(held) == std::vector<int>{5, 6, 7});
  CHECK(numbers_of(set) == std::vector<int>{0, 1, 2, 3, 4});
  CHECK(held.extent == extent);
  CHECK(set.extent == extent);
  CHECK(set.images.size() == 5 * bytes_per_image(set));
}

TEST_CASE("stratified, as many of every class are held out, the first ones one more") {
  ImageSet set = numbered_images(12);  // labels 0 0 1 2  0 0 1 2  0 0 1 2
  CHECK(numbers_of(hold_out(set, 5, true, 3)) == std::vector<int>{6, 8, 9, 10, 11});
  CHECK(numbers_of(set) == std::vector<int>{0, 1, 2, 3, 4, 5, 7});
}

TEST_CASE("what cannot be held out is refused") {
  ImageSet set = numbered_images(8);
  const auto refusal = [&](std::int64_t count, bool stratified) {
    return message_of<Error>([&] { hold_out(set, count, stratified, 3); });
  };
  CHECK(refusal(8, false) == "[validation] expected to hold out 1 to 7 of 8 training images, got 8");
  CHECK_THAT(refusal(0, false), ContainsSubstring("got 0"));
  CHECK(set.count() == 8);
  set = numbered_images(6);  // a single image of class 1
  CHECK(refusal(5, true) ==
        "[validation] expected as many training images of every class as are held out, got 1 too few of class 1: hold "
        "out "
        "fewer");
  CHECK(set.count() == 6);
}

}  // namespace
}  // namespace omniconv::test
