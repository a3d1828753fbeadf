// Dynamic convolutions by Winograd's transforms on a CPU.
#include "tests/engine/conv_check.h"

namespace omniconv::test {
namespace {

// Odd sizes, whose last tiles lie half outside; every padding; panels of 16 and 32 channels; more channels than a unit
// of work has; more samples than a unit has, and weights that they share.
TEST_CASE("Winograd's transforms agree with plain loops", "[dynamic_conv]") {
  if (!conv::is_available(Algorithm::winograd, DType::f32)) return;
  const std::vector<ConvCase> taken = {
      {{2, 7, 5, 16, 16, 3, 3, {1, 1, 1, 1}}, 4, true, true, true},
      {{3, 4, 4, 32, 48, 3, 3, {1, 0, 1, 1}}, 1, true, true, false},
      {{2, 3, 6, 48, 32, 3, 3, {1, 2, 1, 1}}, 5, false, true, true},
      {{5, 2, 2, 32, 32, 3, 3, {1, 1, 1, 1}}, 3, true, true, true},
      {{1, 4, 3, 160, 192, 3, 3, {1, 1, 1, 1}}, 2, true, true, true},
      {{5, 19, 18, 64, 32, 3, 3, {1, 1, 1, 1}}, 1, true, false, false},
      {{4, 19, 18, 64, 32, 3, 3, {1, 1, 1, 1}}, 2, true, true, true},
      {{1, 1, 1, 16, 16, 3, 3, {1, 1, 1, 1}}, 4, true, true, true},
  };
  std::uint64_t seed = 70;
  for (const ConvCase& c : taken) {
    for (const conv::Direction direction :
         {conv::Direction::forward, conv::Direction::data_gradient, conv::Direction::weight_gradient})
      REQUIRE(conv::takes(Algorithm::winograd, {c.shape, c.kernels, DType::f32, direction}));
    check_algorithm<float>(c, Algorithm::winograd, ++seed);
  }
  const std::vector<ConvShape> left_to_others = {
      {2, 6, 6, 16, 16, 3, 3, {2, 1, 1, 1}}, {2, 6, 6, 16, 16, 3, 3, {1, 1, 2, 1}},
      {2, 6, 6, 16, 16, 3, 3, {1, 3, 1, 1}}, {2, 6, 6, 32, 32, 3, 3, {1, 1, 1, 2}},
      {2, 6, 6, 16, 16, 1, 3, {1, 1, 1, 1}}, {2, 6, 6, 24, 16, 3, 3, {1, 1, 1, 1}},
      {2, 6, 6, 16, 24, 3, 3, {1, 1, 1, 1}}};
  for (const ConvShape& shape : left_to_others)
    CHECK_FALSE(conv::takes(Algorithm::winograd, {shape, 4, DType::f32, conv::Direction::forward}));
  CHECK_FALSE(conv::takes(Algorithm::winograd, {taken[0].shape, 4, DType::f64, conv::Direction::forward}));
}

TEST_CASE("Winograd's transforms over drawn shapes", "[dynamic_conv]") {
  if (!conv::is_available(Algorithm::winograd, DType::f32)) return;
  const auto seed = static_cast<std::uint64_t>(std::random_device{}());
  DrawnCases drawn(seed, 16);
  for (int i = 0; i < drawn_cases / 4; ++i) {
    ConvCase c = drawn.draw();
    ConvShape& s = c.shape;
    s.kernel_height = s.kernel_width = 3;
    s.height = std::max<std::int64_t>(s.height, 3);
    s.width = std::max<std::int64_t>(s.width, 3);
    s.params = {1, i % 3, 1, 1};
    INFO("drawn from seed " << seed << ", case " << i);
    check_norms<float>(c, Algorithm::winograd, seed + static_cast<std::uint64_t>(i), Norm::average);
  }
}

}  // namespace
}  // namespace omniconv::test
