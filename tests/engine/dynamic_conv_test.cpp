// Every algorithm of the dynamic convolution against plain loops, and the identities of its gradients.
#include "engine/conv/dynamic_conv.h"

#include <numeric>
#include <random>

#include "engine/conv/static_conv.h"
#include "engine/device.h"
#include "tests/random.h"
#include "tests/reference.h"
#include "tests/reference_conv.h"
#include "tests/tolerance.h"
#if !OMNICONV_CUDA
#include "engine/conv/streamed_cpu.h"
#include "engine/conv/winograd_cpu.h"
#endif

namespace omniconv {
namespace {

using conv::Algorithm;
using test::require_close;
using test::Tolerance;
using test::uniform_values;

using conv::all_algorithms;

struct Case {
  ConvShape shape;
  std::int64_t kernels;
  bool filter, spatial, kernel;
};

std::string text_of(const Case& c) {
  const ConvShape& s = c.shape;
  return concat("N ", s.samples, ", ", s.height, "x", s.width, ", ", s.in_channels, "->", s.out_channels, ", ",
                s.kernel_height, "x", s.kernel_width, ", stride ", s.params.stride, ", padding ", s.params.padding,
                ", dilation ", s.params.dilation, ", groups ", s.params.groups, ", K ", c.kernels);
}

/// `values` as T has them.
template <class T>
reference::Values rounded_to(const reference::Values& values) {
  const std::vector<T> stored(values.begin(), values.end());
  return {stored.begin(), stored.end()};
}

/// Attentions in (0, 1), absent where the case has none. Input and weights are values of T.
template <class T = double>
reference::DynamicConv make_problem(const Case& c, std::uint64_t seed) {
  const ConvShape& s = c.shape;
  const auto attention = [&](bool present, std::int64_t count, std::uint64_t number) {
    reference::Values values;
    if (present)
      for (double value : uniform_values(count, seed * 16 + number)) values.push_back(0.5 + 0.45 * value);
    return values;
  };
  return {.shape = s,
          .kernels = c.kernels,
          .input = rounded_to<T>(uniform_values(s.input_count(), seed * 16 + 1)),
          .weight = rounded_to<T>(uniform_values(c.kernels * s.weight_count(), seed * 16 + 2)),
          .channel = attention(true, s.samples * s.in_channels, 3),
          .filter = attention(c.filter, s.samples * s.out_channels, 4),
          .spatial = attention(c.spatial, s.samples * s.taps(), 5),
          .kernel = attention(c.kernel, s.samples * c.kernels, 6)};
}

template <class T>
Tensor tensor_of(const reference::Values& values) {
  if (values.empty()) return {};
  return Tensor::from_host(std::vector<T>(values.begin(), values.end()));
}

/// A problem on the device, and its solution by one algorithm.
template <class T>
struct OnDevice {
  using Value = compute_type_t<T>;

  const reference::DynamicConv& problem;
  Tensor input, weight, channel, filter, spatial, kernel;

  explicit OnDevice(const reference::DynamicConv& p)
      : problem(p),
        input(tensor_of<T>(p.input)),
        weight(tensor_of<T>(p.weight)),
        channel(tensor_of<Value>(p.channel)),
        filter(tensor_of<Value>(p.filter)),
        spatial(tensor_of<Value>(p.spatial)),
        kernel(tensor_of<Value>(p.kernel)) {}

  AttentionValues<Value> attention() const {
    return {channel.data_or_null<Value>(), filter.data_or_null<Value>(), spatial.data_or_null<Value>(),
            kernel.data_or_null<Value>(), problem.kernels};
  }
  Tensor forward() const {
    Tensor output = Tensor::empty({problem.shape.output_count()}, DTypeOf<T>::value);
    conv::dynamic_forward(problem.shape, attention(), input.data<T>(), weight.data<T>(), output.data<T>(),
                          main_stream());
    return output;
  }
};

/// The sums that an algorithm leaves for the gradients of attention, with their parts added up.
struct Sums {
  Tensor channel;
  conv::WeightedShares shares;

  template <class Value>
  reference::Values of_channels(const ConvShape& s) const {
    return added_up<Value>(channel, s.samples, s.in_channels);
  }
  template <class Value>
  reference::Values of_taps(const ConvShape& s) const {
    return added_up<Value>(shares.spatial, s.samples, s.taps());
  }
  template <class Value>
  reference::Values of_kernels(const ConvShape& s, std::int64_t kernels) const {
    return added_up<Value>(shares.kernel, s.samples * kernels, 1);
  }

 private:
  /// [groups, columns] of [groups, parts, columns].
  template <class Value>
  static reference::Values added_up(const Tensor& parts, std::int64_t groups, std::int64_t columns) {
    return reference::column_sums(reference::doubles(parts.to_host<Value>()), groups,
                                  parts.count() / (groups * columns), columns);
  }
};

/// Algorithm against loops: the output, every gradient, and accumulation onto what was there before.
template <class T>
void check_algorithm(const Case& c, Algorithm algorithm, std::uint64_t seed) {
  INFO(conv::name_of(algorithm) << ", " << text_of(c) << ", seed " << seed);
  const conv::ForceAlgorithm forced(algorithm);
  using Value = compute_type_t<T>;
  const reference::DynamicConv problem = make_problem<T>(c, seed);
  const OnDevice<T> device(problem);
  const ConvShape& s = c.shape;
  const Tolerance tolerance = Tolerance::rounding<T>(), of_sums = Tolerance::rounding<Value>();

  const reference::Values expected = problem.forward();
  require_close(device.forward().template to_host<T>(), expected, tolerance, "output");

  const reference::Values d_output = rounded_to<T>(uniform_values(s.output_count(), seed * 16 + 7));
  const reference::DynamicConv::Gradients gradients = problem.backward(d_output);
  const Tensor upstream = tensor_of<T>(d_output);
  for (const bool accumulate : {false, true}) {
    INFO("accumulate " << accumulate);
    const reference::Values before_input = rounded_to<T>(uniform_values(s.input_count(), seed * 16 + 8));
    const reference::Values before_weight = uniform_values(c.kernels * s.weight_count(), seed * 16 + 9);
    const auto added = [&](reference::Values sum, const reference::Values& before) {
      if (accumulate)
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += before[i];
      return sum;
    };
    const Tensor d_input = tensor_of<T>(before_input), d_weight = tensor_of<Value>(before_weight);
    Sums sums;
    conv::dynamic_data_gradient(s, device.attention(), device.input.template data<T>(),
                                device.weight.template data<T>(), upstream.data<T>(), d_input.data<T>(), accumulate,
                                &sums.channel, main_stream());
    conv::dynamic_weight_gradient(s, device.attention(), device.input.template data<T>(),
                                  device.weight.template data<T>(), upstream.data<T>(), d_weight.data<Value>(),
                                  accumulate, &sums.shares, main_stream());
    require_close(d_input.to_host<T>(), added(gradients.input, before_input), tolerance, "d_input");
    require_close(d_weight.to_host<Value>(), added(gradients.weight, before_weight), of_sums, "d_weight");
    require_close(sums.of_channels<Value>(s), gradients.weighted_channel, of_sums, "C");
    require_close(sums.of_kernels<Value>(s, c.kernels), gradients.weighted_kernel, of_sums, "sum of Q over taps");
    require_close(sums.of_taps<Value>(s), gradients.weighted_spatial, of_sums, "sum of Q over kernels");
  }
}

const std::vector<Case> cases = {
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
  for (const Case& c : cases) {
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

// Odd sizes, whose last tiles lie half outside; every padding; panels of 16 and 32 channels; more channels than a unit
// of work has; more samples than a unit has, and weights that they share.
TEST_CASE("Winograd's transforms agree with plain loops", "[dynamic_conv]") {
  if (!conv::is_available(Algorithm::winograd, DType::f32)) return;
  const std::vector<Case> taken = {
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
  for (const Case& c : taken) {
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

/// Shapes, kernels and attentions at random; channels of a group are multiples of `channel_step`.
class DrawnCases {
 public:
  DrawnCases(std::uint64_t seed, std::int64_t channel_step) : generator_(seed), channel_step_(channel_step) {}

  Case draw() {
    const std::int64_t kernel = 2 * below(3) + 1, groups = below(4) == 0 ? 2 : 1, dilation = 1 + below(2);
    const std::int64_t reach = dilation * (kernel - 1) + 1, widest = std::max<std::int64_t>(9 / channel_step_, 3);
    const auto channels = [&] { return groups * channel_step_ * (1 + below(widest)); };
    const std::int64_t samples = 1 + below(4), height = reach + below(5), width = reach + below(5);
    const std::int64_t in = channels(), out = channels();
    const Conv2dParams params{1 + below(3), below(kernel / 2 + 1), dilation, groups};
    const std::int64_t kernels = 1 + below(6);
    return {{samples, height, width, in, out, kernel, kernel, params}, kernels, below(4) > 0, kernel > 1, true};
  }

 private:
  std::int64_t below(std::int64_t limit) {
    return std::uniform_int_distribution<std::int64_t>(0, limit - 1)(generator_);
  }

  std::mt19937_64 generator_;
  std::int64_t channel_step_;
};

constexpr int drawn_cases = 200;

TEST_CASE("dynamic convolution over drawn shapes", "[dynamic_conv]") {
  const auto seed = static_cast<std::uint64_t>(std::random_device{}());
  DrawnCases drawn(seed, 1);
  for (int i = 0; i < drawn_cases; ++i) {
    const Case c = drawn.draw();
    INFO("drawn from seed " << seed << ", case " << i);
    for (Algorithm algorithm : all_algorithms)
      if (conv::is_available(algorithm, DType::f32))
        check_algorithm<float>(c, algorithm, seed + static_cast<std::uint64_t>(i));
  }
}

TEST_CASE("one sample alone gives what it gives in a batch", "[dynamic_conv]") {
  const Case whole{{3, 6, 6, 16, 16, 3, 3, {1, 1, 1, 1}}, 4, true, true, true};
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

/// The library's convolution against loops, gradients and accumulation included.
template <class T>
void check_static(const Case& c, std::uint64_t seed) {
  INFO(text_of(c));
  using Value = compute_type_t<T>;
  const ConvShape& s = c.shape;
  reference::DynamicConv problem = make_problem<T>(c, seed);
  problem.channel.clear();
  const Tensor input = tensor_of<T>(problem.input), weight = tensor_of<T>(problem.weight);
  const Tensor output = Tensor::empty({s.output_count()}, DTypeOf<T>::value);
  conv::conv2d_forward(s, input.data<T>(), weight.data<T>(), output.data<T>(), main_stream());
  require_close(output.to_host<T>(), problem.forward(), Tolerance::rounding<T>(), "output");

  const reference::Values d_output = rounded_to<T>(uniform_values(s.output_count(), seed * 16 + 7));
  reference::DynamicConv::Gradients expected = problem.backward(d_output);
  const Tensor upstream = tensor_of<T>(d_output);
  const reference::Values ones(problem.input.size(), 1), weight_ones(problem.weight.size(), 1);
  const Tensor d_input = tensor_of<T>(ones), d_weight = tensor_of<Value>(weight_ones);
  for (const bool accumulate : {true, false}) {
    conv::conv2d_data_gradient(s, weight.data<T>(), upstream.data<T>(), d_input.data<T>(), accumulate, main_stream());
    conv::conv2d_weight_gradient(s, input.data<T>(), weight.data<T>(), upstream.data<T>(), d_weight.data<Value>(),
                                 accumulate, main_stream());
    reference::Values of_input = expected.input, of_weight = d_weight.to_doubles();
    for (double& value : of_input) value += accumulate ? 1 : 0;
    for (double& value : of_weight) value -= accumulate ? 1 : 0;
    require_close(d_input.to_host<T>(), of_input, Tolerance::rounding<T>(), "d_input");
    // A library for 16 bits may round its sums to them, before they are added to what was there.
    require_close(of_weight, expected.weight, OMNICONV_CUDA ? Tolerance::rounding<T>() : Tolerance::rounding<Value>(),
                  "d_weight");
  }
}

TEST_CASE("static convolutions agree with plain loops in every type", "[dynamic_conv]") {
  const ConvShape shape =
      GENERATE(ConvShape{3, 6, 5, 8, 16, 3, 3, {1, 1, 1, 1}}, ConvShape{2, 7, 5, 3, 7, 3, 3, {2, 1, 1, 1}},
               ConvShape{2, 4, 4, 16, 8, 1, 1, {2, 0, 1, 1}}, ConvShape{2, 6, 6, 4, 6, 5, 5, {1, 2, 1, 2}},
               ConvShape{9, 4, 4, 10, 12, 3, 3, {1, 1, 1, 1}},   // many samples of few pixels
               ConvShape{5, 9, 8, 32, 48, 3, 3, {1, 1, 1, 1}});  // Winograd's, on a CPU
  const Case c{shape, 1, false, false, false};
  check_static<float>(c, 61);
  check_static<double>(c, 62);
  check_static<bf16>(c, 63);
  check_static<f16>(c, 64);
}

TEMPLATE_TEST_CASE("a static convolution of no images writes nothing, and its weight gradient is zero",
                   "[dynamic_conv]", float, double, bf16, f16) {
  using Value = compute_type_t<TestType>;
  const ConvShape shape{0, 6, 6, 8, 8, 3, 3, {1, 1, 1, 1}};
  const Tensor nothing = Tensor::zeros({1}, DTypeOf<TestType>::value);
  const Tensor weight = test::uniform_tensor<TestType>({shape.weight_count()}, 1);
  const Tensor d_weight = test::uniform_tensor<Value>({shape.weight_count()}, 2);
  TestType* const none = nothing.data<TestType>();
  conv::conv2d_forward(shape, none, weight.data<TestType>(), none, main_stream());
  conv::conv2d_data_gradient(shape, weight.data<TestType>(), none, none, false, main_stream());
  conv::conv2d_weight_gradient(shape, none, weight.data<TestType>(), none, d_weight.data<Value>(), false,
                               main_stream());
  CHECK(nothing.to_doubles() == std::vector<double>{0});
  CHECK(d_weight.to_doubles() == std::vector<double>(static_cast<std::size_t>(shape.weight_count())));
}

TEST_CASE("constant attention is a scaled static convolution", "[dynamic_conv]") {
  const ConvShape shape{2, 6, 6, 16, 16, 3, 3, {1, 1, 1, 1}};
  const std::int64_t kernels = 4;
  const auto constant = [](std::int64_t count, float value) {
    return Tensor::from_host(std::vector<float>(static_cast<std::size_t>(count), value));
  };
  const Tensor c = constant(shape.samples * shape.in_channels, 0.5f),
               f = constant(shape.samples * shape.out_channels, 0.5f);
  const Tensor s = constant(shape.samples * shape.taps(), 0.5f), p = constant(shape.samples * kernels, 0.25f);
  const Tensor input = test::uniform_tensor<float>({shape.input_count()}, 31);
  const std::vector<float> one = uniform_values<float>(shape.weight_count(), 32);
  std::vector<float> all;
  for (std::int64_t k = 0; k < kernels; ++k) all.insert(all.end(), one.begin(), one.end());
  const Tensor weight = Tensor::from_host(all), static_weight = Tensor::from_host(one);
  const Tensor output = Tensor::empty({shape.output_count()}, DType::f32);
  const Tensor static_output = Tensor::empty({shape.output_count()}, DType::f32);
  conv::dynamic_forward<float>(shape, {c.data<float>(), f.data<float>(), s.data<float>(), p.data<float>(), kernels},
                               input.data<float>(), weight.data<float>(), output.data<float>(), main_stream());
  conv::conv2d_forward(shape, input.data<float>(), static_weight.data<float>(), static_output.data<float>(),
                       main_stream());
  std::vector<float> expected = static_output.to_host<float>();
  for (float& value : expected) value *= 0.125f;
  require_close(output.to_host<float>(), expected, Tolerance::rounding<float>(), "output");
}

/// What an error is relative to: the norm of the result itself or, for small drawn cases, whose sums may vanish by
/// chance, the norm that it has on average over the signs of the products.
enum class Norm { own, average };

reference::Values squares_of(const reference::Values& values) {
  reference::Values squares;
  for (const double value : values) squares.push_back(value * value);
  return squares;
}

/// The same problem of all values squared: its results are the average squares of the problem's results.
reference::DynamicConv squares_of(const reference::DynamicConv& p) {
  return {.shape = p.shape,
          .kernels = p.kernels,
          .input = squares_of(p.input),
          .weight = squares_of(p.weight),
          .channel = squares_of(p.channel),
          .filter = squares_of(p.filter),
          .spatial = squares_of(p.spatial),
          .kernel = squares_of(p.kernel)};
}

double sum_of(const reference::Values& values, std::int64_t first, std::int64_t count) {
  return std::accumulate(values.begin() + first, values.begin() + first + count, 0.0);
}

/// One algorithm against loops in f64 on the same values, by norm, and the identities of its gradients.
template <class T>
void check_norms(const Case& c, Algorithm algorithm, std::uint64_t seed, Norm norm = Norm::own) {
  INFO(conv::name_of(algorithm) << ", " << text_of(c) << ", " << name_of(DTypeOf<T>::value) << ", seed " << seed);
  const conv::ForceAlgorithm forced(algorithm);
  const ConvShape& s = c.shape;
  const reference::DynamicConv problem = make_problem<T>(c, seed);
  const OnDevice<T> device(problem);
  const std::vector<T> output = device.forward().template to_host<T>();

  const reference::Values d_output = rounded_to<T>(uniform_values(s.output_count(), seed * 16 + 7));
  const reference::Values expected_output = problem.forward();
  const reference::DynamicConv::Gradients expected = problem.backward(d_output);
  const reference::DynamicConv squared = squares_of(problem);
  const bool own = norm == Norm::own;
  const reference::Values output_squares = own ? squares_of(expected_output) : squared.forward();
  reference::DynamicConv::Gradients squares;
  if (own)
    squares = {.input = squares_of(expected.input),
               .weight = squares_of(expected.weight),
               .weighted_channel = squares_of(expected.weighted_channel),
               .weighted_kst = {},
               .weighted_kernel = squares_of(expected.weighted_kernel),
               .weighted_spatial = squares_of(expected.weighted_spatial)};
  else
    squares = squared.backward(squares_of(d_output));
  const Tensor upstream = tensor_of<T>(d_output);
  const Tensor d_input = Tensor::empty({s.input_count()}, DTypeOf<T>::value);
  using Value = compute_type_t<T>;
  const Tensor d_weight = Tensor::empty({c.kernels * s.weight_count()}, DTypeOf<Value>::value);
  Sums sums;
  conv::dynamic_data_gradient(s, device.attention(), device.input.template data<T>(), device.weight.template data<T>(),
                              upstream.data<T>(), d_input.data<T>(), false, &sums.channel, main_stream());
  conv::dynamic_weight_gradient(s, device.attention(), device.input.template data<T>(),
                                device.weight.template data<T>(), upstream.data<T>(), d_weight.data<Value>(), false,
                                &sums.shares, main_stream());
  const reference::Values channel = sums.of_channels<Value>(s), kernel = sums.of_kernels<Value>(s, c.kernels),
                          spatial = sums.of_taps<Value>(s);
  // One number by itself may err by more than the root mean square of many that the precision is stated for.
  const double slack = own ? 1 : 2;
  const auto require = [&](const auto& actual, const reference::Values& right, const reference::Values& its_squares,
                           const char* what) {
    const double size = slack * std::sqrt(std::accumulate(its_squares.begin(), its_squares.end(), 0.0));
    test::require_small_error<T>(actual, right, size, what);
  };
  require(output, expected_output, output_squares, "output");
  require(d_input.to_host<T>(), expected.input, squares.input, "d_input");
  require(d_weight.to_host<Value>(), expected.weight, squares.weight, "d_weight");
  require(channel, expected.weighted_channel, squares.weighted_channel, "C");
  require(kernel, expected.weighted_kernel, squares.weighted_kernel, "sum of Q over taps");
  require(spatial, expected.weighted_spatial, squares.weighted_spatial, "sum of Q over kernels");

  // Σ_o R = Σ_i C = Σ_k,t Q for each sample, relative to the norm of all three.
  constexpr double allowed_gap = std::is_same_v<T, bf16> ? 1e-2 : std::is_same_v<T, f16> ? 1e-3 : 1e-5;
  const std::int64_t count = s.output_count() / s.samples;
  for (std::int64_t n = 0; n < s.samples; ++n) {
    double inner = 0;
    for (auto i = static_cast<std::size_t>(n * count); i < static_cast<std::size_t>((n + 1) * count); ++i)
      inner += static_cast<double>(output[i]) * d_output[i];
    const auto of_sample = [n](const reference::Values& values, std::int64_t width) {
      return sum_of(values, n * width, width);
    };
    const double by_channel = of_sample(channel, s.in_channels), by_kernel = of_sample(kernel, c.kernels);
    const double by_tap = of_sample(spatial, s.taps());
    const double allowed = slack * allowed_gap *
                           std::sqrt(sum_of(squares.weighted_channel, n * s.in_channels, s.in_channels) +
                                     sum_of(squares.weighted_kernel, n * c.kernels, c.kernels) +
                                     sum_of(squares.weighted_spatial, n * s.taps(), s.taps()));
    INFO("sample " << n << ": " << inner << ", " << by_channel << ", " << by_kernel << ", " << by_tap);
    CHECK(std::abs(by_channel - inner) <= allowed);
    CHECK(std::abs(by_kernel - inner) <= allowed);
    CHECK(std::abs(by_tap - inner) <= allowed);
  }
}

/// check_norms of every algorithm, in every type that has it; of tensor cores, only where they take the shape.
void check_all_norms(const Case& c, std::uint64_t seed) {
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

TEST_CASE("Winograd's transforms over drawn shapes", "[dynamic_conv]") {
  if (!conv::is_available(Algorithm::winograd, DType::f32)) return;
  const auto seed = static_cast<std::uint64_t>(std::random_device{}());
  DrawnCases drawn(seed, 16);
  for (int i = 0; i < drawn_cases / 4; ++i) {
    Case c = drawn.draw();
    ConvShape& s = c.shape;
    s.kernel_height = s.kernel_width = 3;
    s.height = std::max<std::int64_t>(s.height, 3);
    s.width = std::max<std::int64_t>(s.width, 3);
    s.params = {1, i % 3, 1, 1};
    INFO("drawn from seed " << seed << ", case " << i);
    check_norms<float>(c, Algorithm::winograd, seed + static_cast<std::uint64_t>(i), Norm::average);
  }
}

// Tensor cores take eight channels at a time and one group.
TEST_CASE("dynamic convolution on tensor cores over drawn shapes", "[dynamic_conv]") {
  const auto seed = static_cast<std::uint64_t>(std::random_device{}());
  DrawnCases drawn(seed, 8);
  int taken[2] = {};
  for (int i = 0; i < drawn_cases; ++i) {
    const Case c = drawn.draw();
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
  const Case c{{3, 4, 4, 16, 8, 3, 3, {1, 1, 1, 1}}, 4, true, true, true};
  const ConvShape& s = c.shape;
  const reference::DynamicConv problem = make_problem<bf16>(c, 73);
  const OnDevice<bf16> device(problem);
  const Tensor upstream = tensor_of<bf16>(rounded_to<bf16>(uniform_values(s.output_count(), 74)));
  struct Results {
    Tensor d_input, d_weight;
    Sums sums;
    explicit Results(const Case& c)
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
}  // namespace omniconv
