// The tensor-core weight gradient, lane by lane, against plain loops.
#include "kernels/od_conv_mma_weight.h"

#include "tests/kernels/half_problem.h"

namespace omniconv::test {
namespace {

template <class Half>
void check_weight_gradient(const ConvCase& c, std::uint64_t seed, bool accumulate) {
  INFO(c.text() << ", seed " << seed << ", accumulate " << accumulate);
  const ConvShape& s = c.shape;
  const HalfProblem<Half> problem(c, seed);
  const reference::DynamicConv::Gradients expected = problem.conv.backward(problem.upstream);
  const reference::Values before = uniform_values(c.kernels * s.weight_count(), seed + 1);
  const DeviceArray<float> d_weight = on_device<float>(before);
  const DeviceArray<float> shares(s.samples * c.kernels * s.taps(), NAN);
  const DeviceArray<float> workspace(kernels::od_conv_mma_weight_gradient_workspace(s, c.kernels), NAN);
  kernels::od_conv_mma_weight_gradient<Half>(s, problem.attention(), problem.input, problem.d_output, problem.weight,
                                             d_weight, accumulate, shares, workspace, main_stream());
  // D_n never leaves f32: only the operands are of 16 bits.
  require_small_error<float>(d_weight.to_host(), added(expected.weight, before, accumulate), "d_weight");
  require_small_error<float>(shares.to_host(), expected.weighted_kst, "Q");
}

const std::vector<ConvCase> cases = {
    {{3, 8, 8, 32, 64, 3, 3, {1, 1, 1, 1}}, 4},
    {{2, 9, 11, 40, 72, 3, 3, {1, 1, 1, 1}}, 3},
    {{2, 16, 10, 16, 8, 3, 3, {2, 1, 1, 1}}, 4},
    {{3, 7, 7, 8, 16, 5, 5, {1, 2, 1, 1}}, 2},
    {{2, 9, 8, 16, 16, 3, 3, {1, 2, 2, 1}}, 5, true, false, true, true},
    {{3, 8, 8, 24, 40, 1, 1, {2, 0, 1, 1}}, 1, true, true, false, false},
    {{5, 5, 1, 8, 8, 3, 1, {1, 1, 1, 1}}, 2, false, true, false, true},
};

TEST_CASE("the tensor-core weight gradient agrees with plain loops", KERNEL_TAGS "[od_conv_mma]") {
  for (std::size_t i = 0; i < cases.size(); ++i) {
    check_weight_gradient<bf16>(cases[i], 50 + i, i % 2 == 0);
    check_weight_gradient<f16>(cases[i], 70 + i, i % 2 != 0);
  }
}

TEST_CASE("the tensor-core weight gradient does not depend on the order of threads", KERNEL_TAGS "[od_conv_mma]") {
  in_shuffled_orders([] {
    check_weight_gradient<bf16>({{5, 9, 8, 8, 16, 3, 3, {1, 1, 1, 1}}, 4}, 81, false);
    check_weight_gradient<f16>({{3, 9, 9, 8, 8, 3, 3, {2, 1, 1, 1}}, 2}, 82, true);
  });
}

TEST_CASE("the tensor-core weight gradient gives either result alone", KERNEL_TAGS "[od_conv_mma]") {
  const ConvCase c{{3, 8, 8, 16, 16, 3, 3, {1, 1, 1, 1}}, 4};
  const ConvShape& s = c.shape;
  const HalfProblem<bf16> problem(c, 91);
  const reference::DynamicConv::Gradients expected = problem.conv.backward(problem.upstream);
  const DeviceArray<float> workspace(kernels::od_conv_mma_weight_gradient_workspace(s, c.kernels), NAN);
  const DeviceArray<float> d_weight(c.kernels * s.weight_count()), shares(s.samples * c.kernels * s.taps());
  kernels::od_conv_mma_weight_gradient<bf16>(s, problem.attention(), problem.input, problem.d_output, problem.weight,
                                             d_weight, false, nullptr, workspace, main_stream());
  kernels::od_conv_mma_weight_gradient<bf16>(s, problem.attention(), problem.input, problem.d_output, problem.weight,
                                             nullptr, false, shares, workspace, main_stream());
  require_small_error<float>(d_weight.to_host(), expected.weight, "d_weight");
  require_small_error<float>(shares.to_host(), expected.weighted_kst, "Q");
}

TEST_CASE("the tensor-core weight gradient refuses what it does not cover", KERNEL_TAGS "[od_conv_mma]") {
  const auto takes = [](const ConvShape& shape) { return kernels::od_conv_mma_weight_gradient_takes(shape); };
  CHECK(takes({2, 8, 8, 8, 16, 3, 3, {2, 1, 1, 1}}));
  CHECK_FALSE(takes({2, 8, 8, 12, 16, 3, 3, {1, 1, 1, 1}}));
  CHECK_FALSE(takes({2, 8, 8, 8, 20, 3, 3, {1, 1, 1, 1}}));
  CHECK_FALSE(takes({2, 8, 8, 16, 16, 3, 3, {1, 1, 1, 2}}));
  CHECK_THROWS_WITH(
      kernels::od_conv_mma_weight_gradient<bf16>({2, 8, 8, 12, 16, 3, 3, {1, 1, 1, 1}}, {}, nullptr, nullptr, nullptr,
                                                 nullptr, false, nullptr, nullptr, main_stream()),
      "[od_conv_mma] expected one group and multiples of 8 channels, got 1 groups of 12 and 16 channels");
}

}  // namespace
}  // namespace omniconv::test
