// The plain kernels of the dynamic convolution against plain loops: what tests of the engine's algorithms do not single
// out, as sums in parts.
#include "kernels/od_conv.h"

#include "tests/kernels/half_problem.h"

namespace omniconv::test {
namespace {

/// Into how many parts the workspace lets the weight gradient cut the samples, where one tile has all channels.
std::int64_t parts_of(const ConvCase& c) {
  const ConvShape& s = c.shape;
  const std::int64_t shares = s.samples * c.kernels * s.taps();
  return (kernels::od_conv_weight_gradient_workspace<float>(s, c.kernels) - shares) / (c.kernels * s.weight_count());
}

void check_weight_gradient(const ConvCase& c, std::uint64_t seed, bool accumulate) {
  INFO(c.text() << ", seed " << seed << ", accumulate " << accumulate);
  const ConvShape& s = c.shape;
  const HalfProblem<float> problem(c, seed);
  const reference::DynamicConv::Gradients expected = problem.conv.backward(problem.upstream);
  const reference::Values before = uniform_values(c.kernels * s.weight_count(), seed + 1);
  const DeviceArray<float> d_weight = on_device<float>(before);
  const DeviceArray<float> shares(s.samples * c.kernels * s.taps(), NAN);
  const DeviceArray<float> workspace(kernels::od_conv_weight_gradient_workspace<float>(s, c.kernels), NAN);
  kernels::od_conv_weight_gradient<float>(s, problem.attention(), problem.input, problem.d_output, problem.weight,
                                          d_weight, accumulate, shares, workspace, main_stream());
  require_small_error<float>(d_weight.to_host(), added(expected.weight, before, accumulate), "d_weight");
  require_small_error<float>(shares.to_host(), expected.weighted_kst, "Q");
}

// Cut into parts of one sample, and of two with one left over.
const ConvCase one_each{{5, 6, 5, 20, 24, 3, 3, {1, 1, 1, 1}}, 5};
const ConvCase one_left{{71, 2, 2, 2, 3, 3, 3, {1, 1, 1, 1}}, 2};

TEST_CASE("the plain weight gradient adds up the parts of the samples", KERNEL_TAGS "[od_conv]") {
  REQUIRE(parts_of(one_each) == one_each.shape.samples);
  REQUIRE(parts_of(one_left) == 36);
  for (const bool accumulate : {false, true}) {
    check_weight_gradient(one_each, 31, accumulate);
    check_weight_gradient(one_left, 32, accumulate);
  }
}

TEST_CASE("the plain weight gradient does not depend on the order of threads", KERNEL_TAGS "[od_conv]") {
  in_shuffled_orders([] { check_weight_gradient({{3, 5, 4, 6, 4, 3, 3, {2, 1, 1, 2}}, 2}, 33, true); });
}

TEST_CASE("the plain weight gradient gives either result alone", KERNEL_TAGS "[od_conv]") {
  const ConvShape& s = one_left.shape;
  const HalfProblem<float> problem(one_left, 34);
  const reference::DynamicConv::Gradients expected = problem.conv.backward(problem.upstream);
  const std::int64_t elements = kernels::od_conv_weight_gradient_workspace<float>(s, one_left.kernels);
  const DeviceArray<float> workspace(elements, NAN);
  const DeviceArray<float> d_weight(one_left.kernels * s.weight_count());
  const DeviceArray<float> shares(s.samples * one_left.kernels * s.taps());
  kernels::od_conv_weight_gradient<float>(s, problem.attention(), problem.input, problem.d_output, problem.weight,
                                          d_weight, false, nullptr, workspace, main_stream());
  kernels::od_conv_weight_gradient<float>(s, problem.attention(), problem.input, problem.d_output, problem.weight,
                                          nullptr, false, shares, workspace, main_stream());
  require_small_error<float>(d_weight.to_host(), expected.weight, "d_weight");
  require_small_error<float>(shares.to_host(), expected.weighted_kst, "Q");
}

TEST_CASE("the plain forward and data gradient agree with plain loops", KERNEL_TAGS "[od_conv]") {
  const ConvCase c = GENERATE(ConvCase{{2, 9, 8, 20, 24, 3, 3, {3, 2, 2, 1}}, 5},   // strides that taps meet unevenly
                              ConvCase{{2, 4, 4, 72, 68, 3, 3, {1, 1, 1, 1}}, 2},   // few pixels, several tiles
                              ConvCase{{2, 11, 7, 6, 10, 2, 3, {2, 1, 1, 2}}, 3});  // taps of one step with others
  INFO(c.text());
  const ConvShape& s = c.shape;
  const HalfProblem<float> problem(c, 35);
  const DeviceArray<float> output(s.output_count(), NAN), d_input(s.input_count(), NAN);
  kernels::od_conv_forward<float>(s, problem.attention(), problem.input, problem.weight, output, main_stream());
  kernels::od_conv_data_gradient<float>(s, problem.attention(), problem.d_output, problem.weight, d_input, false,
                                        main_stream());
  require_small_error<float>(output.to_host(), problem.conv.forward(), "output");
  require_small_error<float>(d_input.to_host(), problem.conv.backward(problem.upstream).input, "d_input");
}

TEST_CASE("the plain kernels refuse what they cannot count", KERNEL_TAGS "[od_conv]") {
  const ConvShape shape{1, 65536, 32768, 1, 1, 1, 1, {65536, 0, 1, 1}};
  const std::string text =
      "[od_conv] expected at most 2147483647 elements of a padded sample or a kernel, got 2147483648";
  CHECK_THROWS_WITH(kernels::od_conv_forward<float>(shape, {}, nullptr, nullptr, nullptr, main_stream()), text);
  CHECK_THROWS_WITH(kernels::od_conv_data_gradient<float>(shape, {}, nullptr, nullptr, nullptr, false, main_stream()),
                    text);
  CHECK_THROWS_WITH(kernels::od_conv_weight_gradient<float>(shape, {}, nullptr, nullptr, nullptr, nullptr, false,
                                                            nullptr, nullptr, main_stream()),
                    text);
}

}  // namespace
}  // namespace omniconv::test
