// The convolution of samples of few pixels against plain loops.
#if !OMNICONV_CUDA
#include "engine/conv/streamed_cpu.h"

#include <vector>

#include "engine/conv/attention_parts_cpu.h"
#include "tests/random.h"
#include "tests/reference_conv.h"
#include "tests/tolerance.h"

namespace omniconv {
namespace {

using test::uniform_values;

reference::Values widened(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

TEST_CASE("a sample of few pixels, streamed past its kernels, is convolved as plain loops do it", "[dynamic_conv]") {
  const ConvShape shape =
      GENERATE(ConvShape{1, 4, 4, 20, 16, 3, 3, {1, 1, 1, 1}}, ConvShape{3, 7, 8, 9, 16, 3, 3, {2, 1, 1, 1}},
               ConvShape{1, 2, 3, 5, 16, 1, 1, {1, 0, 1, 1}}, ConvShape{1, 5, 5, 3, 16, 5, 5, {2, 2, 1, 1}});
  const std::int64_t kernels = GENERATE(1, 2, 3, 4);
  const bool with_channel = GENERATE(true, false);
  REQUIRE(conv::streams(shape, kernels));
  const auto values = [](std::int64_t count, std::uint64_t seed) { return uniform_values<float>(count, seed); };
  const std::vector<float> input = values(shape.input_count(), 1), weight = values(kernels * shape.weight_count(), 2),
                           spatial = values(shape.samples * shape.taps(), 4),
                           kernel = values(shape.samples * kernels, 5);
  const std::vector<float> channel = with_channel ? values(shape.samples * shape.in_channels, 3) : std::vector<float>{};
  const reference::DynamicConv problem{.shape = shape,
                                       .kernels = kernels,
                                       .input = widened(input),
                                       .weight = widened(weight),
                                       .channel = widened(channel),
                                       .filter = {},
                                       .spatial = widened(spatial),
                                       .kernel = widened(kernel)};

  constexpr std::int64_t width = conv::streamed_channels;
  const std::int64_t rows = shape.taps() * shape.in_channels;
  std::vector<float> packed(weight.size());  // [K, R·S, I, O] of [K, O, R, S, I]
  for (std::int64_t k = 0; k < kernels; ++k)
    for (std::int64_t o = 0; o < width; ++o)
      for (std::int64_t e = 0; e < rows; ++e)
        packed[static_cast<std::size_t>((k * rows + e) * width + o)] =
            weight[static_cast<std::size_t>((k * width + o) * rows + e)];
  const Tensor columns = conv::streamed_columns(shape, input.data(), with_channel ? channel.data() : nullptr);
  std::vector<float> shares, result(static_cast<std::size_t>(shape.output_count()));
  for (std::int64_t n = 0; n < shape.samples; ++n) {
    conv::sample_shares(shape, {nullptr, nullptr, spatial.data(), kernel.data(), kernels}, n, shares);
    conv::streamed_forward(shape, kernels, columns.data<float>() + n * columns.count() / shape.samples, packed.data(),
                           rows * width, shares.data(), result.data() + n * shape.out_pixels() * width);
  }
  test::require_close(result, problem.forward(), test::Tolerance::rounding<float>(), "output");
}

TEST_CASE("only few pixels and kernels are streamed", "[dynamic_conv]") {
  const ConvShape shape{1, 4, 4, 20, 16, 3, 3, {1, 1, 1, 1}};
  const auto with = [&](auto change) {
    ConvShape changed = shape;
    change(changed);
    return conv::streams(changed, 4);
  };
  CHECK(conv::streams(shape, 4));
  CHECK_FALSE(conv::streams(shape, 5));
  CHECK_FALSE(with([](ConvShape& s) { s.width = 5; }));
  CHECK_FALSE(with([](ConvShape& s) { s.params.groups = 2; }));
}

}  // namespace
}  // namespace omniconv
#endif
