// Algorithm C on tensor cores, lane by lane, against plain loops.
#include "kernels/od_conv_summed_mma.h"

#include "tests/kernels/half_problem.h"
#include "tests/kernels/moments.h"
#include "tests/reference.h"

namespace omniconv::test {
namespace {

/// C [N, I] of its products [N, H, W, I].
reference::Values sums_over_pixels(const DeviceArray<float>& products, const ConvShape& shape) {
  return reference::column_sums(reference::doubles(products.to_host()), shape.samples, shape.in_pixels(),
                                shape.in_channels);
}

template <class Half>
void check_case(const ConvCase& c, std::uint64_t seed, bool accumulate) {
  INFO(c.text() << ", seed " << seed << ", accumulate " << accumulate);
  const ConvShape& s = c.shape;
  const HalfProblem<Half> problem(c, seed);
  const reference::Values output = problem.conv.forward();
  const reference::DynamicConv::Gradients expected = problem.conv.backward(problem.upstream);
  const reference::Values before_input = half_values<Half>(s.input_count(), seed + 1);
  const reference::Values before_weight = uniform_values(c.kernels * s.weight_count(), seed + 2);
  const DeviceArray<Half> scaled_input(s.input_count()), scaled_gradient(s.output_count());
  const DeviceArray<float> workspace(std::max(kernels::od_conv_summed_mma_data_gradient_workspace(s, c.kernels),
                                              kernels::od_conv_summed_mma_weight_gradient_workspace(s, c.kernels)),
                                     NAN);
  const DeviceArray<Half> y(s.output_count()), d_input = on_device<Half>(before_input);
  const DeviceArray<float> d_weight = on_device<float>(before_weight);
  const DeviceArray<float> products(s.input_count(), NAN), shares(s.samples * c.kernels * s.taps());
  const AttentionValues<float> attention = problem.attention();
  const kernels::MomentParts parts = kernels::od_conv_summed_mma_moments(s);
  const DeviceArray<float> moments(parts.count() * 2 * s.out_channels, NAN);
  const DeviceArray<Half> alone(s.output_count());
  kernels::od_conv_summed_mma_forward<Half>(s, attention, problem.input, problem.weight, alone, nullptr, scaled_input,
                                            main_stream());
  kernels::od_conv_summed_mma_forward<Half>(s, attention, problem.input, problem.weight, y, moments, scaled_input,
                                            main_stream());
  kernels::od_conv_summed_mma_data_gradient<Half>(s, attention, problem.input, problem.weight, problem.d_output,
                                                  d_input, accumulate, products, shares, scaled_gradient, workspace,
                                                  main_stream());
  kernels::od_conv_summed_mma_weight_gradient<Half>(s, attention, problem.input, problem.d_output, d_weight, accumulate,
                                                    scaled_input, scaled_gradient, workspace, main_stream());
  require_small_error<Half>(y.to_host(), output, "output");
  require_small_error<Half>(alone.to_host(), output, "output without moments");
  require_moments(parts, moments.to_host(), y.to_host(), s.out_channels);
  require_small_error<Half>(d_input.to_host(), added(expected.input, before_input, accumulate), "d_input");
  require_small_error<Half>(sums_over_pixels(products, s), expected.weighted_channel, "C");
  require_small_error<Half>(shares.to_host(), expected.weighted_kst, "Q");
  require_small_error<Half>(d_weight.to_host(), added(expected.weight, before_weight, accumulate), "d_weight");
}

// Tiles of 128 rows with one position, two, and many; more channels than a tile has; more kernels than a block takes.
const std::vector<ConvCase> cases = {
    {{65, 2, 2, 8, 8, 3, 3, {1, 1, 1, 1}}, 4},
    {{5, 4, 4, 40, 72, 3, 3, {1, 1, 1, 1}}, 3},
    {{3, 8, 8, 16, 8, 3, 3, {2, 1, 1, 1}}, 4},
    {{2, 7, 5, 72, 8, 3, 3, {1, 1, 1, 1}}, 2},
    {{2, 4, 3, 8, 136, 3, 3, {1, 1, 1, 1}}, 5, true, false, true, true},
    {{33, 2, 2, 8, 16, 3, 3, {1, 2, 2, 1}}, 2, false, true, false, true},
    {{20, 4, 4, 16, 8, 1, 1, {2, 0, 1, 1}}, 1, true, true, false, false},
    {{2, 1, 2, 8, 8, 3, 3, {1, 3, 1, 1}}, 2},
};

TEST_CASE("the summed tensor-core products agree with plain loops", KERNEL_TAGS "[od_conv_summed_mma]") {
  for (std::size_t i = 0; i < cases.size(); ++i) {
    check_case<bf16>(cases[i], 110 + i, i % 2 == 0);
    check_case<f16>(cases[i], 130 + i, i % 2 != 0);
  }
}

TEST_CASE("the summed tensor-core products do not depend on the order of threads", KERNEL_TAGS "[od_conv_summed_mma]") {
  in_shuffled_orders([] {
    check_case<bf16>({{3, 4, 4, 8, 8, 3, 3, {1, 1, 1, 1}}, 4}, 141, false);
    check_case<f16>({{33, 2, 2, 8, 8, 3, 3, {1, 1, 1, 1}}, 2}, 142, true);
  });
}

TEST_CASE("summed tensor-core gradients come alone", KERNEL_TAGS "[od_conv_summed_mma]") {
  const ConvCase c{{6, 4, 4, 16, 16, 3, 3, {1, 1, 1, 1}}, 4};
  const ConvShape& s = c.shape;
  const HalfProblem<bf16> problem(c, 151);
  const reference::DynamicConv::Gradients expected = problem.conv.backward(problem.upstream);
  const DeviceArray<bf16> scaled_gradient(s.output_count()), d_input(s.input_count());
  const DeviceArray<float> workspace(kernels::od_conv_summed_mma_data_gradient_workspace(s, c.kernels), NAN);
  const DeviceArray<float> products(s.input_count(), NAN), shares(s.samples * c.kernels * s.taps());
  const auto run = [&](bf16* dx, float* channel, float* kst) {
    kernels::od_conv_summed_mma_data_gradient<bf16>(s, problem.attention(), problem.input, problem.weight,
                                                    problem.d_output, dx, false, channel, kst, scaled_gradient,
                                                    workspace, main_stream());
  };
  run(d_input, nullptr, nullptr);
  run(nullptr, products, nullptr);
  run(nullptr, nullptr, shares);
  require_small_error<bf16>(d_input.to_host(), expected.input, "d_input");
  require_small_error<bf16>(sums_over_pixels(products, s), expected.weighted_channel, "C");
  require_small_error<bf16>(shares.to_host(), expected.weighted_kst, "Q");
}

TEST_CASE("the summed tensor-core products refuse what they do not cover", KERNEL_TAGS "[od_conv_summed_mma]") {
  const auto takes = [](const ConvShape& shape) { return kernels::od_conv_summed_mma_takes(shape); };
  CHECK(takes({2, 8, 8, 8, 16, 3, 3, {2, 1, 1, 1}}));
  CHECK_FALSE(takes({2, 9, 8, 8, 16, 3, 3, {1, 1, 1, 1}}));
  CHECK_FALSE(takes({2, 4, 4, 12, 16, 3, 3, {1, 1, 1, 1}}));
  CHECK_FALSE(takes({2, 4, 4, 16, 16, 3, 3, {1, 1, 1, 2}}));
  CHECK_FALSE(takes({2, 8, 8, 8, 8, 9, 9, {1, 4, 1, 1}}));
  CHECK_THROWS_WITH(kernels::expect_od_conv_summed_mma_takes({2, 4, 4, 12, 16, 3, 3, {1, 1, 1, 1}}),
                    "[od_conv_summed_mma] expected one group, multiples of 8 channels and at most 64 pixels, got 1 "
                    "groups of 12 and 16 channels, 16 and 16 pixels, kernels of 9");
}

}  // namespace
}  // namespace omniconv::test
