// Every algorithm of the dynamic convolution against plain loops, and the identities of its gradients.
#include "engine/conv/dynamic_conv.h"

#include "tests/engine/conv_check.h"

namespace omniconv::test {
namespace {

using conv::all_algorithms;

const std::vector<ConvCase> cases = {
    // shape: N, H, W, I, O, R, S, {stride, padding, dilation, groups}; K; filter, spatial, kernel attention
    {{3, 6, 5, 8, 8, 3, 3, {1, 1, 1, 1}}, 4, true, true, true},
    {{2, 7, 5, 5, 7, 3, 3, {2, 1, 1, 1}}, 2, true, true, true},
    {{2, 8, 8, 16, 32, 3, 3, {2, 1, 1, 1}}, 4, true, true, true},
    {{2, 4, 4, 32, 16, 1, 1, {1, 0, 1, 1}}, 1, true, false, false},
    {{2, 5, 4, 16, 32, 1, 1, {2, 0, 1, 1}}, 3, true, false, true},
    {{2, 6, 6, 4, 6, 5, 5, {1, 2, 1, 2}}, 2, true, true, true},
    {{2, 7, 7, 6, 6, 3, 3, {1, 2, 2, 6}}, 4, false, true, true},
    {{2, 6, 6, 6, 6, 3, 3, {2, 1, 1, 6}}, 1, false, true, false},
    {{1, 3, 3, 20, 40, 3, 3, {1, 1, 1, 1}}, 5, true, true, true},
    {{2, 9, 1, 3, 4, 3, 3, {3, 1, 1, 1}}, 1, false, false, false},
};

TEST_CASE("dynamic convolution algorithms agree with plain loops", "[dynamic_conv]") {
  for (const ConvCase& c : cases) {
    for (Algorithm algorithm : all_algorithms) {
      if (conv::is_available(algorithm, DType::f32)) check_algorithm<float>(c, algorithm, 11);
      if (conv::is_available(algorithm, DType::f64)) check_algorithm<double>(c, algorithm, 12);
      // Those in 16 bits alone round their operands as well and are checked by norms below.
      if (conv::is_available(algorithm, DType::f32) && conv::is_available(algorithm, DType::bf16)) {
        check_algorithm<bf16>(c, algorithm, 15);
        check_algorithm<f16>(c, algorithm, 16);
      }
    }
  }
}

// Wide layers are cut into slices and panels of channels, large batches into blocks of samples; these are the smallest
// that are, with remainders.
TEST_CASE("convolutions in slices and panels agree with plain loops", "[dynamic_conv]") {
  for (const Algorithm algorithm : {Algorithm::blocked, Algorithm::summed}) {
    if (!conv::is_available(algorithm, DType::f32)) continue;
    check_algorithm<float>({{2, 2, 2, 96, 128, 3, 3, {1, 1, 1, 1}}, 2, true, true, true}, algorithm, 13);
    check_algorithm<float>({{9, 2, 2, 128, 96, 3, 3, {2, 1, 1, 1}}, 1, true, true, false}, algorithm, 14);
    check_algorithm<float>({{3, 2, 3, 70, 133, 3, 3, {1, 1, 1, 1}}, 3, true, true, true}, algorithm, 15);
    check_algorithm<float>({{5, 18, 18, 20, 18, 3, 3, {1, 1, 1, 1}}, 2, true, true, true}, algorithm, 16);
    check_algorithm<float>({{3, 34, 34, 70, 4, 3, 3, {2, 1, 1, 1}}, 1, true, true, false}, algorithm, 17);
  }
}

TEST_CASE("dynamic convolution over drawn shapes", "[dynamic_conv]") {
  const auto seed = static_cast<std::uint64_t>(std::random_device{}());
  DrawnCases drawn(seed, 1);
  for (int i = 0; i < drawn_cases; ++i) {
    const ConvCase c = drawn.draw();
    INFO("drawn from seed " << seed << ", case " << i);
    for (Algorithm algorithm : all_algorithms)
      if (conv::is_available(algorithm, DType::f32))
        check_algorithm<float>(c, algorithm, seed + static_cast<std::uint64_t>(i));
  }
}

TEST_CASE("one sample alone gives what it gives in a batch", "[dynamic_conv]") {
  const ConvCase whole{{3, 6, 6, 16, 16, 3, 3, {1, 1, 1, 1}}, 4, true, true, true};
  const reference::DynamicConv batch = make_problem(whole, 21);
  const OnDevice<float> device(batch);
  for (Algorithm algorithm : all_algorithms) {
    if (!conv::is_available(algorithm, DType::f32)) continue;
    const conv::ForceAlgorithm forced(algorithm);
    const std::vector<float> together = device.forward().to_host<float>();
    ConvShape alone = whole.shape;
    alone.samples = 1;
    const std::int64_t n = 2;
    const AttentionValues<float> attention{device.channel.data<float>() + n * alone.in_channels,
                                           device.filter.data<float>() + n * alone.out_channels,
                                           device.spatial.data<float>() + n * alone.taps(),
                                           device.kernel.data<float>() + n * whole.kernels, whole.kernels};
    const Tensor output = Tensor::empty({alone.output_count()}, DType::f32);
    conv::dynamic_forward(alone, attention, device.input.data<float>() + n * alone.input_count(),
                          device.weight.data<float>(), output.data<float>(), main_stream());
    const std::vector<float> expected(together.begin() + n * alone.output_count(), together.end());
    INFO(conv::name_of(algorithm));
    require_close(output.to_host<float>(), expected, Tolerance::rounding<float>(), "output of sample 2");
  }
}

/// check_norms of every algorithm, in every type that has it; of tensor cores, only where they take the shape.
void check_all_norms(const ConvCase& c, std::uint64_t seed) {
  for (const Algorithm algorithm : all_algorithms) {
    if (conv::is_available(algorithm, DType::f32)) check_norms<float>(c, algorithm, seed);
    if (conv::is_available(algorithm, DType::f64)) check_norms<double>(c, algorithm, seed);
    if (conv::is_available(algorithm, DType::bf16)) check_norms<bf16>(c, algorithm, seed);
    if (conv::is_available(algorithm, DType::f16)) check_norms<f16>(c, algorithm, seed);
  }
}

TEST_CASE("algorithms keep to the precision of their type, gradients and identities included", "[dynamic_conv]") {
  check_all_norms({{3, 8, 8, 24, 40, 3, 3, {1, 1, 1, 1}}, 4, true, true, true}, 71);
  check_all_norms({{2, 9, 10, 16, 24, 3, 3, {2, 1, 1, 1}}, 4, true, true, true}, 72);
  check_all_norms({{5, 4, 4, 16, 8, 3, 3, {1, 1, 1, 1}}, 4, true, true, true}, 73);
  check_all_norms({{3, 4, 4, 8, 24, 1, 1, {2, 0, 1, 1}}, 1, true, false, false}, 74);
  // Groups: on tensor cores by the algorithm that is planned instead.
  check_all_norms({{2, 6, 6, 8, 16, 3, 3, {1, 1, 1, 2}}, 2, true, true, true}, 75);
}

// Tensor cores take eight channels at a time and one group.
TEST_CASE("dynamic convolution on tensor cores over drawn shapes", "[dynamic_conv]") {
  const auto seed = static_cast<std::uint64_t>(std::random_device{}());
  DrawnCases drawn(seed, 8);
  int taken[2] = {};
  for (int i = 0; i < drawn_cases; ++i) {
    const ConvCase c = drawn.draw();
    INFO("drawn from seed " << seed << ", case " << i);
    const DType dtype = i % 2 == 0 ? DType::bf16 : DType::f16;
    for (int on_summed = 0; on_summed < 2; ++on_summed) {
      const Algorithm algorithm = on_summed ? Algorithm::tensor_core_summed : Algorithm::tensor_core;
      if (!conv::takes(algorithm, {c.shape, c.kernels, dtype, conv::Direction::forward})) continue;
      ++taken[on_summed];
      const auto case_seed = seed + static_cast<std::uint64_t>(i);
      if (dtype == DType::bf16)
        check_norms<bf16>(c, algorithm, case_seed, Norm::average);
      else
        check_norms<f16>(c, algorithm, case_seed, Norm::average);
    }
  }
  CHECK(taken[0] > drawn_cases / 2);
  CHECK(taken[1] > drawn_cases / 2);
}

// Where Q is a by-product of the data gradient, and where it is not.
TEST_CASE("both gradients together are what they are apart", "[dynamic_conv]") {
  const ConvCase c{{3, 4, 4, 16, 8, 3, 3, {1, 1, 1, 1}}, 4, true, true, true};
  const ConvShape& s = c.shape;
  const reference::DynamicConv problem = make_problem<bf16>(c, 73);
  const OnDevice<bf16> device(problem);
  const Tensor upstream = tensor_of<bf16>(rounded_to<bf16>(uniform_values(s.output_count(), 74)));
  struct Results {
    Tensor d_input, d_weight;
    Sums sums;
    explicit Results(const ConvCase& c)
        : d_input(Tensor::empty({c.shape.input_count()}, DType::bf16)),
          d_weight(Tensor::empty({c.kernels * c.shape.weight_count()}, DType::f32)) {}
  };
  for (const Algorithm algorithm : {Algorithm::tiled, Algorithm::tensor_core, Algorithm::tensor_core_summed}) {
    INFO(conv::name_of(algorithm));
    const conv::ForceAlgorithm forced(algorithm);
    Results apart(c), together(c);
    const bf16 *input = device.input.data<bf16>(), *weight = device.weight.data<bf16>();
    conv::dynamic_data_gradient(s, device.attention(), input, weight, upstream.data<bf16>(), apart.d_input.data<bf16>(),
                                false, &apart.sums.channel, main_stream());
    conv::dynamic_weight_gradient(s, device.attention(), input, weight, upstream.data<bf16>(),
                                  apart.d_weight.data<float>(), false, &apart.sums.shares, main_stream());
    conv::dynamic_gradients<bf16>(s, device.attention(), input, weight, upstream.data<bf16>(),
                                  {.d_input = together.d_input.data<bf16>(),
                                   .weighted_channel = &together.sums.channel,
                                   .d_weight = together.d_weight.data<float>(),
                                   .weighted_shares = &together.sums.shares},
                                  main_stream());
    const auto floats = [](const std::vector<bf16>& values) {
      return std::vector<float>(values.begin(), values.end());
    };
    CHECK(floats(together.d_input.to_host<bf16>()) == floats(apart.d_input.to_host<bf16>()));
    CHECK(together.d_weight.to_host<float>() == apart.d_weight.to_host<float>());
    CHECK(together.sums.of_channels<float>(s) == apart.sums.of_channels<float>(s));
    CHECK(together.sums.of_kernels<float>(s, c.kernels) == apart.sums.of_kernels<float>(s, c.kernels));
    CHECK(together.sums.of_taps<float>(s) == apart.sums.of_taps<float>(s));
  }
}

}  // namespace
}  // namespace omniconv::test
