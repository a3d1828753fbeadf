// Draws of mixup and CutMix.
#include "apps/training/mixing.h"

#include <algorithm>
#include <cmath>

#include "tests/catch.h"

namespace omniconv::test {
namespace {

TEST_CASE("the shares of mixup are a Beta distribution's") {
  const double alpha = GENERATE(0.02, 0.2, 1.0, 4.0);
  CAPTURE(alpha);
  constexpr int count = 4000;
  double sum = 0, squares = 0;
  for (std::int64_t step = 0; step < count; ++step) {
    const kernels::Mix mix = draw_mix({.mixup = alpha}, 32, 7, step);
    REQUIRE(mix.own_share >= 0);
    REQUIRE(mix.own_share <= 1);
    CHECK(mix.bottom == 0);
    sum += mix.own_share;
    squares += (mix.own_share - 0.5) * (mix.own_share - 0.5);
  }
  // Mean 1/2, variance 1 / (4·(2α + 1)); the bounds are six standard errors and more.
  CHECK(std::abs(sum / count - 0.5) < 0.05);
  CHECK(squares / count == Approx(1 / (4 * (2 * alpha + 1))).epsilon(0.1));
}

TEST_CASE("CutMix's boxes lie in the image and have the area that the share says") {
  const std::int64_t extent = GENERATE(8, 32, 64);
  CAPTURE(extent);
  double sum = 0, lowest = 0;
  constexpr int count = 2000;
  for (std::int64_t step = 0; step < count; ++step) {
    const kernels::Mix mix = draw_mix({.cutmix = 1}, extent, 3, step);
    REQUIRE((mix.top >= 0 && mix.left >= 0 && mix.bottom <= extent && mix.right <= extent));
    REQUIRE((mix.bottom >= mix.top && mix.right >= mix.left));
    CHECK(mix.own_share == 1 - (mix.bottom - mix.top) * (mix.right - mix.left) / (extent * extent));
    sum += mix.own_share;
    lowest = std::max(lowest, mix.bottom);
  }
  CHECK(lowest == extent);
  // Half of the image on average, less what lies outside.
  CHECK(sum / count > 0.5);
  CHECK(sum / count < 0.75);
}

TEST_CASE("a mix depends on seed and step alone, and both kinds take turns") {
  const Mixing both{.mixup = 0.2, .cutmix = 1};
  int boxes = 0;
  for (std::int64_t step = 0; step < 1000; ++step) {
    const kernels::Mix mix = draw_mix(both, 32, 1, step), again = draw_mix(both, 32, 1, step);
    CHECK((mix.own_share == again.own_share && mix.top == again.top));
    boxes += mix.bottom > 0;
  }
  CHECK(boxes > 400);
  CHECK(boxes < 600);
  CHECK(draw_mix(both, 32, 1, 5).own_share != draw_mix(both, 32, 2, 5).own_share);
}

}  // namespace
}  // namespace omniconv::test
