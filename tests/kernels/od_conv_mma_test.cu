// The tensor-core kernels of the dynamic convolution against plain loops in f64, on the values that 16 bits can hold.
#include "kernels/od_conv_mma.h"

#include "tests/catch.h"
#include "tests/kernels/half_problem.h"
#include "tests/kernels/moments.h"
#include "tests/reference.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

template <class Half>
void check_case(const ConvCase& c, std::uint64_t seed) {
  INFO(c.text() << ", seed " << seed);
  const ConvShape& s = c.shape;
  REQUIRE(kernels::od_conv_mma_takes(s, c.kernels));
  const HalfProblem<Half> problem(c, seed);
  const reference::DynamicConv::Gradients expected = problem.conv.backward(problem.upstream);
  const AttentionValues<float> attention = problem.attention();
  const DeviceArray<Half> output(s.output_count());
  kernels::od_conv_mma_forward<Half>(s, attention, problem.input, problem.weight, output, nullptr, main_stream());
  require_small_error<Half>(output.to_host(), problem.conv.forward(), "output");

  const kernels::MomentParts parts = kernels::od_conv_mma_moments(s, c.kernels);
  const DeviceArray<float> moments(parts.count() * 2 * s.out_channels, NAN);
  const DeviceArray<Half> with_moments(s.output_count());
  kernels::od_conv_mma_forward<Half>(s, attention, problem.input, problem.weight, with_moments, moments, main_stream());
  CHECK(reference::doubles(with_moments.to_host()) == reference::doubles(output.to_host()));
  require_moments(parts, moments.to_host(), with_moments.to_host(), s.out_channels);

  const reference::Values before = half_values<Half>(s.input_count(), seed + 7);
  for (const bool accumulate : {false, true}) {
    CAPTURE(accumulate);
    const DeviceArray<Half> d_input = on_device<Half>(before);
    const std::int64_t dot_parts = kernels::od_conv_mma_dot_parts(s, c.kernels);
    const DeviceArray<float> dots(s.samples * dot_parts * s.in_channels, NAN);
    kernels::od_conv_mma_data_gradient<Half>(s, attention, problem.input, problem.weight, problem.d_output, d_input,
                                             accumulate, dots, main_stream());
    require_small_error<Half>(d_input.to_host(), added(expected.input, before, accumulate), "d_input");
    require_small_error<Half>(
        reference::column_sums(reference::doubles(dots.to_host()), s.samples, dot_parts, s.in_channels),
        expected.weighted_channel, "C");
  }
  const DeviceArray<Half> alone(s.input_count());
  kernels::od_conv_mma_data_gradient<Half>(s, attention, nullptr, problem.weight, problem.d_output, alone, false,
                                           nullptr, main_stream());
  require_small_error<Half>(alone.to_host(), expected.input, "d_input without C");
}

const std::vector<ConvCase> cases = {
    // shape: N, H, W, I, O, R, S, {stride, padding, dilation, groups}; K; channel, filter, spatial attention
    {{3, 5, 6, 40, 72, 3, 3, {1, 1, 1, 1}}, 4, true, true, true},    // four samples a block; ragged in all it can be
    {{3, 16, 16, 8, 16, 3, 3, {1, 1, 1, 1}}, 2, true, true, true},   // two samples a block
    {{1, 25, 20, 8, 8, 3, 3, {1, 1, 1, 1}}, 3, true, true, true},    // one sample a block
    {{1, 20, 26, 8, 8, 3, 3, {1, 1, 1, 1}}, 1, true, true, true},    // several tiles of a sample's pixels
    {{2, 9, 7, 16, 24, 3, 3, {2, 1, 1, 1}}, 4, true, true, true},    // classes of pixels in the data gradient
    {{2, 7, 7, 40, 8, 3, 3, {3, 0, 1, 1}}, 5, false, true, true},    // three by three of them, some out of reach
    {{2, 32, 32, 40, 8, 3, 3, {2, 1, 1, 1}}, 1, true, false, true},  // a window too large to have twice
    {{2, 8, 6, 72, 40, 1, 1, {1, 0, 1, 1}}, 1, true, true, false},   // one tap: a new chunk at every step
    {{2, 7, 6, 40, 16, 1, 1, {2, 0, 1, 1}}, 2, true, true, false},   // and pixels that no tap meets
    {{1, 5, 6, 72, 8, 1, 2, {1, 0, 1, 1}}, 2, true, true, true},     // two taps
    {{2, 6, 7, 8, 16, 5, 3, {1, 2, 1, 1}}, 2, true, true, false},    // a kernel that is not square
    {{1, 9, 8, 16, 8, 3, 3, {1, 2, 2, 1}}, 2, false, false, true},   // holes in the kernel
    {{2, 3, 2, 8, 8, 3, 3, {1, 1, 1, 1}}, 8, true, true, true},      // fewer pixels than a matrix has rows
};

TEST_CASE("tensor-core forward and data gradient agree with plain loops", KERNEL_TAGS) {
  for (const ConvCase& c : cases) {
    check_case<bf16>(c, 1);
    check_case<f16>(c, 2);
  }
}

TEST_CASE("tensor-core results do not depend on the order of threads", "[kernels]") {
  in_shuffled_orders([] {
    check_case<bf16>(cases[1], 3);
    check_case<bf16>(cases[5], 4);
    check_case<bf16>(cases[8], 5);
  });
}

// One tile, several of a sample, and samples that share a tile.
TEST_CASE("tensor-core moments keep a small variance beside a large mean", KERNEL_TAGS) {
  for (const auto& [samples, side] : {std::pair<std::int64_t, std::int64_t>{1, 20}, {1, 27}, {5, 8}}) {
    const ConvShape s{samples, side, side, 8, 8, 1, 1, {1, 0, 1, 1}};
    CAPTURE(samples, side);
    // The first channel, which all outputs have, is 1000; the others are noise in steps of half, as f16 has there.
    std::vector<f16> input, weight(s.weight_count(), f16(0.0f));
    for (const double value : uniform_values(s.input_count(), 5)) input.push_back(f16(static_cast<float>(value)));
    for (std::size_t i = 0; i < input.size(); i += 8) input[i] = f16(1000.0f);
    for (std::size_t o = 0; o < 8; ++o) weight[o * 8] = weight[o * 8 + std::max<std::size_t>(o, 1)] = f16(1.0f);
    const kernels::MomentParts parts = kernels::od_conv_mma_moments(s, 1);
    const DeviceArray<float> moments(parts.count() * 2 * s.out_channels, NAN);
    const DeviceArray<f16> output(s.output_count());
    kernels::od_conv_mma_forward<f16>(s, {}, DeviceArray<f16>(input), DeviceArray<f16>(weight), output, moments,
                                      main_stream());
    require_moments(parts, moments.to_host(), output.to_host(), s.out_channels);
  }
}

TEST_CASE("tensor-core kernels say which shapes they take", "[kernels]") {
  const auto takes = [](std::int64_t in, std::int64_t out, const Conv2dParams& params, std::int64_t kernels = 4) {
    return kernels::od_conv_mma_takes({2, 16, 16, in, out, 3, 3, params}, kernels);
  };
  CHECK(takes(64, 64, {1, 1, 1, 1}));
  CHECK(takes(8, 24, {2, 1, 1, 1}));
  CHECK_FALSE(takes(64, 64, {1, 1, 1, 2}));
  CHECK_FALSE(takes(12, 64, {1, 1, 1, 1}));
  CHECK_FALSE(takes(64, 3, {1, 1, 1, 1}));
  CHECK_FALSE(takes(64, 64, {1, 1, 1, 1}, 64));
  CHECK_FALSE(kernels::od_conv_mma_takes({1, 16, 16, 8, 8, 9, 9, {1, 4, 1, 1}}, 1));
  CHECK_THAT(message_of<Error>([] {
               kernels::od_conv_mma_forward<bf16>({1, 4, 4, 3, 8, 3, 3, {1, 1, 1, 1}}, {}, nullptr, nullptr, nullptr,
                                                  nullptr, main_stream());
             }),
             ContainsSubstring("[od_conv_mma] expected a shape that the kernels take, got 3 to 8 channels"));
}

}  // namespace
}  // namespace omniconv::test
