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
  set.labels.push_back(1);
  CHECK_THROWS_WITH(normalise(set, DType::f32),
                    test::ContainsSubstring("[normalise] expected 3 images of 3072 bytes") &&
                        test::ContainsSubstring("got 6144 bytes"));
}

}  // namespace
}  // namespace omniconv
