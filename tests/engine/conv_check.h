// A dynamic convolution on the device beside plain loops: problems, given and drawn, and what each algorithm must hold.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "engine/conv/dynamic_conv.h"
#include "engine/device.h"
#include "tests/random.h"
#include "tests/reference.h"
#include "tests/reference_conv.h"
#include "tests/tolerance.h"

namespace omniconv::test {

using conv::Algorithm;

struct ConvCase {
  ConvShape shape;
  std::int64_t kernels;
  bool filter, spatial, kernel;
};

inline std::string text_of(const ConvCase& c) {
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
reference::DynamicConv make_problem(const ConvCase& c, std::uint64_t seed) {
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
void check_algorithm(const ConvCase& c, Algorithm algorithm, std::uint64_t seed) {
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

/// Shapes, kernels and attentions at random; channels of a group are multiples of `channel_step`.
class DrawnCases {
 public:
  DrawnCases(std::uint64_t seed, std::int64_t channel_step) : generator_(seed), channel_step_(channel_step) {}

  ConvCase draw() {
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

inline constexpr int drawn_cases = 200;

/// What an error is relative to: the norm of the result itself or, for small drawn cases, whose sums may vanish by
/// chance, the norm that it has on average over the signs of the products.
enum class Norm { own, average };

inline reference::Values squares_of(const reference::Values& values) {
  reference::Values squares;
  for (const double value : values) squares.push_back(value * value);
  return squares;
}

/// The same problem of all values squared: its results are the average squares of the problem's results.
inline reference::DynamicConv squares_of(const reference::DynamicConv& p) {
  return {.shape = p.shape,
          .kernels = p.kernels,
          .input = squares_of(p.input),
          .weight = squares_of(p.weight),
          .channel = squares_of(p.channel),
          .filter = squares_of(p.filter),
          .spatial = squares_of(p.spatial),
          .kernel = squares_of(p.kernel)};
}

inline double sum_of(const reference::Values& values, std::int64_t first, std::int64_t count) {
  return std::accumulate(values.begin() + first, values.begin() + first + count, 0.0);
}

/// One algorithm against loops in f64 on the same values, by norm, and the identities of its gradients.
template <class T>
void check_norms(const ConvCase& c, Algorithm algorithm, std::uint64_t seed, Norm norm = Norm::own) {
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
    require_small_error<T>(actual, right, size, what);
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

}  // namespace omniconv::test
