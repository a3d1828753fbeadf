// Dynamic convolutions whose results have few pixels, streamed past their kernels on a CPU.
#include "tests/engine/conv_check.h"

namespace omniconv::test {
namespace {

// What is unrolled (3x3 with 4x4 results) and what is not, in all directions; an odd number of samples; more channels
// than a block, with a remainder.
TEST_CASE("results of few pixels, streamed past their kernels, agree with plain loops", "[dynamic_conv]") {
  if (!conv::is_available(Algorithm::streamed, DType::f32)) return;
  constexpr conv::Direction forward = conv::Direction::forward, data_gradient = conv::Direction::data_gradient;
  constexpr conv::Direction weight_gradient = conv::Direction::weight_gradient;
  const auto takes = [](const ConvShape& shape, std::int64_t kernels, conv::Direction direction) {
    return conv::takes(Algorithm::streamed, {shape, kernels, DType::f32, direction});
  };
  const std::vector<ConvShape> shapes = {{9, 4, 4, 48, 80, 3, 3, {1, 1, 1, 1}}, {2, 4, 4, 16, 32, 3, 3, {1, 0, 1, 1}},
                                         {3, 7, 8, 9, 16, 3, 3, {2, 1, 1, 1}},  {2, 2, 3, 16, 37, 1, 1, {1, 0, 1, 1}},
                                         {2, 5, 5, 3, 16, 5, 5, {2, 2, 1, 1}},  {2, 2, 2, 32, 5, 3, 3, {1, 2, 1, 1}},
                                         {3, 8, 8, 35, 16, 3, 3, {2, 1, 1, 1}}, {1, 4, 4, 144, 16, 3, 3, {1, 1, 1, 1}}};
  std::uint64_t seed = 90;
  for (const ConvShape& shape : shapes)
    for (std::int64_t kernels = 1; kernels <= 4; ++kernels) {
      REQUIRE((takes(shape, kernels, forward) || takes(shape, kernels, data_gradient)));
      check_algorithm<float>({shape, kernels, true, kernels % 2 == 0, true}, Algorithm::streamed, ++seed);
    }
  const ConvShape taken{1, 4, 4, 32, 32, 3, 3, {1, 1, 1, 1}};
  CHECK(takes(taken, 4, forward));
  CHECK(takes(taken, 4, data_gradient));
  CHECK_FALSE(takes(taken, 5, forward));
  CHECK(takes(taken, 4, weight_gradient));
  CHECK_FALSE(takes(taken, 5, weight_gradient));
  CHECK_FALSE(takes({1, 4, 4, 24, 32, 3, 3, {1, 1, 1, 1}}, 4, weight_gradient));
  CHECK_FALSE(takes({1, 4, 4, 32, 24, 3, 3, {1, 1, 1, 1}}, 4, weight_gradient));
  CHECK_FALSE(takes({1, 4, 4, 32, 32, 3, 3, {1, 1, 1, 2}}, 4, weight_gradient));
  CHECK_FALSE(takes({1, 8, 8, 32, 32, 3, 3, {2, 1, 1, 1}}, 4, weight_gradient));
  CHECK_FALSE(takes({1, 4, 5, 32, 32, 3, 3, {1, 1, 1, 1}}, 4, forward));
  CHECK_FALSE(takes({1, 4, 4, 32, 32, 3, 3, {1, 1, 1, 2}}, 4, forward));
  CHECK_FALSE(takes({1, 4, 4, 32, 24, 3, 3, {1, 1, 1, 1}}, 4, forward));
  CHECK_FALSE(takes({1, 4, 4, 24, 32, 3, 3, {1, 1, 1, 1}}, 4, data_gradient));
  CHECK(takes({1, 7, 7, 16, 16, 3, 3, {2, 1, 1, 1}}, 4, forward));
  CHECK_FALSE(takes({1, 7, 7, 16, 16, 3, 3, {2, 1, 1, 1}}, 4, data_gradient));
}

}  // namespace
}  // namespace omniconv::test
