#include "data/normalise.h"

#include "tests/catch.h"
#include "tests/tolerance.h"

namespace omniconv {
namespace {

TEST_CASE("images are normalised channel by channel, planes become pixels", "[normalise]") {
  ImageSet set{std::vector<std::uint8_t>(2 * 3072), {4, 5}};
  set.images[3072 + 1024 + 33] = 51;  // second image, green, second row, second column
  const std::vector<double> values = normalise(set, DType::f64).to_doubles();
  REQUIRE(values.size() == 2 * 3072);
  const std::size_t pixel = 3072 + 33 * 3;
  CHECK(test::Tolerance::rounding<double>().holds(values[pixel], (0 - 0.4914) / 0.2023));
  CHECK(test::Tolerance::rounding<double>().holds(values[pixel + 1], (0.2 - 0.4822) / 0.1994));
  CHECK(test::Tolerance::rounding<double>().holds(values[pixel + 2], (0 - 0.4465) / 0.2010));
  CHECK(test::Tolerance::rounding<double>().holds(values[1], (0 - 0.4822) / 0.1994));
  // As many bytes as eight images of 16x16; in the seventh, blue, second row, second column.
  set = {std::move(set.images), std::vector<std::uint8_t>(8, 1), 16};
  std::fill(set.images.begin(), set.images.end(), std::uint8_t{0});
  set.images[6 * 768 + 2 * 256 + 17] = 102;
  const Tensor smaller = normalise(set, DType::f64);
  CHECK(smaller.shape() == Shape{8, 16, 16, 3});
  CHECK(test::Tolerance::rounding<double>().holds(smaller.to_doubles()[6 * 768 + 17 * 3 + 2], (0.4 - 0.4465) / 0.2010));
  set = {std::move(set.images), {4, 5, 1}, 32};
  CHECK_THROWS_WITH(normalise(set, DType::f32),
                    test::ContainsSubstring("[normalise] expected 3 images of 3072 bytes") &&
                        test::ContainsSubstring("got 6144 bytes"));
}

}  // namespace
}  // namespace omniconv
