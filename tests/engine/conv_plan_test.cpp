// Which algorithm is planned for a convolution, by default, by measurement and by force.
#include "engine/conv/plan.h"

#include "tests/catch.h"
#if !OMNICONV_CUDA
#include "engine/conv/streamed_cpu.h"
#include "engine/conv/winograd_cpu.h"
#endif

namespace omniconv::test {
namespace {

using conv::Algorithm;

TEST_CASE("a plan names an algorithm that takes the shape, and a reason", "[dynamic_conv]") {
  using conv::Direction;
  const ConvShape wide{2, 8, 8, 64, 64, 3, 3, {1, 1, 1, 1}}, grouped{2, 8, 8, 64, 64, 3, 3, {1, 1, 1, 4}},
      odd{2, 8, 8, 3, 64, 3, 3, {1, 1, 1, 1}};
  for (const ConvShape& shape : {wide, grouped, odd})
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
      for (const Direction direction : {Direction::forward, Direction::data_gradient, Direction::weight_gradient}) {
        const conv::Problem problem{shape, 4, dtype, direction};
        const conv::Plan plan = conv::default_plan(problem);
        CHECK(conv::takes(plan.algorithm, problem));
        CHECK_FALSE(plan.reason.empty());
      }
  CHECK(conv::takes(Algorithm::tensor_core, {wide, 4, DType::bf16, Direction::forward}));
  CHECK_FALSE(conv::takes(Algorithm::tensor_core, {wide, 4, DType::f32, Direction::forward}));
  CHECK_FALSE(conv::takes(Algorithm::tensor_core, {grouped, 4, DType::bf16, Direction::forward}));
  CHECK_FALSE(conv::takes(Algorithm::tensor_core, {odd, 4, DType::f16, Direction::data_gradient}));
  CHECK(conv::takes(Algorithm::tensor_core, {wide, 4, DType::f16, Direction::weight_gradient}));
  CHECK(conv::takes(Algorithm::tensor_core_summed, {wide, 4, DType::f16, Direction::weight_gradient}));
  CHECK_FALSE(conv::takes(Algorithm::tensor_core_summed, {grouped, 4, DType::f16, Direction::forward}));
  CHECK_FALSE(conv::takes(Algorithm::tensor_core_summed, {wide, 4, DType::f64, Direction::forward}));
#if OMNICONV_CUDA
  const auto planned = [](const ConvShape& shape, std::int64_t kernels) {
    return conv::default_plan({shape, kernels, DType::bf16, Direction::weight_gradient}).algorithm;
  };
  CHECK(planned(wide, 4) == Algorithm::tensor_core);
  CHECK(planned(wide, 1) == Algorithm::tensor_core_summed);
  CHECK(planned({2, 4, 4, 64, 64, 3, 3, {1, 1, 1, 1}}, 4) == Algorithm::tensor_core_summed);
  CHECK(planned(odd, 4) == Algorithm::tiled);
#endif
}

#if !OMNICONV_CUDA
TEST_CASE("the CPU's plan follows pixels, kernels and the width of vectors", "[dynamic_conv]") {
  const auto planned = [](std::int64_t extent, std::int64_t kernels, conv::Direction direction) {
    const ConvShape shape{32, extent, extent, 64, 64, 3, 3, {1, 1, 1, 1}};
    return conv::default_plan({shape, kernels, DType::f32, direction}).algorithm;
  };
  for (const conv::Direction direction :
       {conv::Direction::forward, conv::Direction::data_gradient, conv::Direction::weight_gradient}) {
    INFO(conv::name_of(direction));
    const bool of_weights = direction == conv::Direction::weight_gradient;
    const Algorithm winograd = conv::winograd_pays ? Algorithm::winograd : Algorithm::blocked;
    const Algorithm streamed = conv::streaming_pays ? Algorithm::streamed : Algorithm::blocked;
    CHECK(planned(32, 4, direction) == winograd);
    CHECK(planned(8, 1, direction) == winograd);
    CHECK(planned(6, 4, direction) == Algorithm::blocked);
    CHECK(planned(128, 4, direction) == Algorithm::blocked);
    CHECK(planned(4, 4, direction) == streamed);
    CHECK(planned(4, 5, direction) == Algorithm::blocked);
    CHECK(planned(4, 1, direction) == (of_weights ? streamed : Algorithm::summed));
    if (conv::winograd_pays) CHECK(planned(4, 0, direction) == Algorithm::winograd);
  }
}
#endif

TEST_CASE("a plan is the forced algorithm, else the measured one, else the default", "[dynamic_conv]") {
  const conv::Problem problem{{2, 8, 8, 16, 16, 3, 3, {1, 1, 1, 1}}, 4, DType::f32, conv::Direction::forward};
  conv::Problem other = problem;
  other.shape.samples = 3;
  const Algorithm planned = conv::default_plan(problem).algorithm;
  REQUIRE(planned != Algorithm::two_sided);
  conv::set_measured_plans({{problem, Algorithm::two_sided}});
  CHECK(conv::plan(problem).algorithm == Algorithm::two_sided);
  CHECK(conv::plan(other).algorithm == conv::default_plan(other).algorithm);
  {
    const conv::ForceAlgorithm forced(Algorithm::materialise);
    CHECK(conv::plan(problem).algorithm == Algorithm::materialise);
    {
      const conv::ForceAlgorithm within(Algorithm::summed);
      CHECK(conv::plan(problem).algorithm == Algorithm::summed);
    }
    CHECK(conv::plan(problem).algorithm == Algorithm::materialise);
  }
  conv::set_measured_plans({{problem, Algorithm::tensor_core}});  // which has no f32
  CHECK(conv::plan(problem).algorithm == planned);
  conv::set_measured_plans({});
  CHECK(conv::plan(problem).algorithm == planned);
}

}  // namespace
}  // namespace omniconv::test
