// The tensor-core kernels of the dynamic convolution against plain loops in f64, on the values that 16 bits can hold.
#include "kernels/od_conv_mma.h"

#include "tests/catch.h"
#include "tests/device_array.h"
#include "tests/kernels/moments.h"
#include "tests/random.h"
#include "tests/reference_conv.h"
#include "tests/simt/device_memory.h"
#include "tests/temporary_folder.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

struct Case {
  ConvShape shape;
  std::int64_t kernels;
  bool channel, filter, spatial;
};

template <class T>
std::vector<T> rounded(const std::vector<double>& values) {
  std::vector<T> result;
  for (const double value : values) result.push_back(T(static_cast<float>(value)));
  return result;
}
template <class T>
std::vector<double> widened(const std::vector<T>& values) {
  return std::vector<double>(values.begin(), values.end());
}
/// Values that T holds exactly.
template <class T>
std::vector<double> held_values(std::int64_t count, std::uint64_t seed) {
  return widened(rounded<T>(uniform_values(count, seed)));
}
std::vector<double> attention_values(bool present, std::int64_t count, std::uint64_t seed) {
  std::vector<double> values;
  if (present)
    for (const double value : uniform_values(count, seed)) values.push_back(static_cast<float>(0.5 + 0.45 * value));
  return values;
}

template <class T>
void check_case(const Case& c, std::uint64_t seed) {
  const ConvShape& s = c.shape;
  CAPTURE(s.samples, s.height, s.width, s.in_channels, s.out_channels, s.kernel_height, s.kernel_width, s.params.stride,
          s.params.padding, s.params.dilation, c.kernels, seed);
  REQUIRE(kernels::od_conv_mma_takes(s, c.kernels));
  const reference::DynamicConv problem{.shape = s,
                                       .kernels = c.kernels,
                                       .input = held_values<T>(s.input_count(), seed),
                                       .weight = held_values<T>(c.kernels * s.weight_count(), seed + 1),
                                       .channel = attention_values(c.channel, s.samples * s.in_channels, seed + 2),
                                       .filter = attention_values(c.filter, s.samples * s.out_channels, seed + 3),
                                       .spatial = attention_values(c.spatial, s.samples * s.taps(), seed + 4),
                                       .kernel = attention_values(c.kernels > 1, s.samples * c.kernels, seed + 5)};
  const std::vector<double> d_output = held_values<T>(s.output_count(), seed + 6);
  const auto expected = problem.backward(d_output);

  const DeviceArray<T> input(rounded<T>(problem.input)), weight(rounded<T>(problem.weight)),
      upstream(rounded<T>(d_output)), output(s.output_count());
  const DeviceArray<float> channel(rounded<float>(problem.channel)), filter(rounded<float>(problem.filter)),
      spatial(rounded<float>(problem.spatial)), kernel(rounded<float>(problem.kernel));
  const auto given = [](const std::vector<double>& values, const DeviceArray<float>& array) {
    return values.empty() ? nullptr : array.data();
  };
  const AttentionValues<float> attention{given(problem.channel, channel), given(problem.filter, filter),
                                         given(problem.spatial, spatial), given(problem.kernel, kernel), c.kernels};
  kernels::od_conv_mma_forward<T>(s, attention, input, weight, output, nullptr, main_stream());
  require_small_error<T>(output.to_host(), problem.forward(), "output");

  const kernels::MomentParts parts = kernels::od_conv_mma_moments(s, c.kernels);
  const DeviceArray<float> moments(parts.count() * 2 * s.out_channels, NAN);
  const DeviceArray<T> with_moments(s.output_count());
  kernels::od_conv_mma_forward<T>(s, attention, input, weight, with_moments, moments, main_stream());
  CHECK(widened(with_moments.to_host()) == widened(output.to_host()));
  require_moments(parts, moments.to_host(), with_moments.to_host(), s.out_channels);

  const std::vector<double> before = held_values<T>(s.input_count(), seed + 7);
  for (const bool accumulate : {false, true}) {
    CAPTURE(accumulate);
    std::vector<double> gradient = expected.input;
    if (accumulate)
      for (std::size_t i = 0; i < before.size(); ++i) gradient[i] += before[i];
    const DeviceArray<T> d_input(rounded<T>(before));
    const DeviceArray<float> dots(s.samples * s.in_channels),
        workspace(kernels::od_conv_mma_data_gradient_workspace(s, c.kernels));
    kernels::od_conv_mma_data_gradient<T>(s, attention, input, weight, upstream, d_input, accumulate, dots, workspace,
                                          main_stream());
    require_small_error<T>(d_input.to_host(), gradient, "d_input");
    require_small_error<T>(dots.to_host(), expected.weighted_channel, "C");
  }
  const DeviceArray<T> alone(s.input_count());
  kernels::od_conv_mma_data_gradient<T>(s, attention, nullptr, weight, upstream, alone, false, nullptr, nullptr,
                                        main_stream());
  require_small_error<T>(alone.to_host(), expected.input, "d_input without C");
}

const std::vector<Case> cases = {
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
  for (const Case& c : cases) {
    check_case<bf16>(c, 1);
    check_case<f16>(c, 2);
  }
}

TEST_CASE("tensor-core results do not depend on the order of threads", "[kernels]") {
  for (const std::uint64_t order : {1, 2, 3}) {
    const simt::test::ThreadOrder shuffled(order);
    CAPTURE(order);
    check_case<bf16>(cases[1], 3);
    check_case<bf16>(cases[5], 4);
    check_case<bf16>(cases[8], 5);
  }
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
