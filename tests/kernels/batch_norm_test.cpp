#include "kernels/batch_norm.h"

#include <limits>
#include <optional>

#include "tests/device_array.h"
#include "tests/gradient_check.h"
#include "tests/kernels/moments.h"
#include "tests/reference.h"
#include "tests/settings.h"

namespace omniconv::test {
namespace {

using kernels::BatchNormBackward;
using kernels::BatchNormShape;
using reference::doubles;

/// A norm of values of T on the device: parameters, statistics, running statistics.
template <class T>
struct Norm {
  using Value = compute_type_t<T>;

  BatchNormShape shape;
  DeviceArray<Value> gamma, beta, mean, rstd, running_mean, running_var, workspace;

  Norm(BatchNormShape of_shape, const std::vector<Value>& of_gamma, const std::vector<Value>& of_beta)
      : shape(of_shape),
        gamma(of_gamma),
        beta(of_beta),
        mean(shape.channels),
        rstd(shape.channels),
        running_mean(shape.channels, Value(0.25)),
        running_var(shape.channels, Value(2)),
        workspace(kernels::batch_norm_workspace<T>(shape)) {}
  explicit Norm(BatchNormShape of_shape)
      : Norm(of_shape, uniform_values<Value>(of_shape.channels, 11), uniform_values<Value>(of_shape.channels, 12)) {}

  void take_statistics(const DeviceArray<T>& input) const {
    kernels::batch_norm_statistics<T>(shape, input, mean, rstd, running_mean, running_var, nullptr, 0.1, workspace,
                                      main_stream());
  }
  void use_running() const {
    kernels::batch_norm_use_running<Value>(shape, running_mean, running_var, mean, rstd, main_stream());
  }
  std::vector<T> apply(const DeviceArray<T>& input, const T* residual = nullptr, Value* pool = nullptr) const {
    const DeviceArray<T> output(shape.rows * shape.channels);
    kernels::batch_norm_apply<T>(shape,
                                 {.input = input,
                                  .residual = residual,
                                  .mean = mean,
                                  .rstd = rstd,
                                  .gamma = gamma,
                                  .beta = beta,
                                  .output = output,
                                  .pool = pool,
                                  .workspace = workspace},
                                 main_stream());
    return output.to_host();
  }
};

BatchNormShape some_shape() {
  const auto [rows, channels] = GENERATE(table<std::int64_t, std::int64_t>({{2, 16},
                                                                            {2, 1},
                                                                            {3, 10},
                                                                            {128, 16},
                                                                            {129, 8},
                                                                            {1000, 1},
                                                                            {1025, 24},
                                                                            {4096, 64},
                                                                            {2049, 130},
                                                                            {515, 512},
                                                                            {40000, 16},
                                                                            {300000, 2}}));
  return {rows, channels};
}

/// Shapes that cut 16 bits otherwise than f32 are among the small ones.
template <class T>
bool is_slow(const BatchNormShape& shape) {
  return is_half<T> && shape.rows * shape.channels > 200'000;
}

TEMPLATE_TEST_CASE("batch statistics equal plain loops", KERNEL_TAGS, float, double, bf16, f16) {
  using T = TestType;
  const BatchNormShape shape = some_shape();
  if (is_slow<T>(shape)) return;
  CAPTURE(shape.rows, shape.channels);
  auto input = uniform_values<T>(shape.rows * shape.channels, 1);
  for (std::size_t i = 0; i < input.size(); ++i)  // means that differ
    input[i] = static_cast<T>(input[i] + static_cast<compute_type_t<T>>(i % shape.channels));
  const DeviceArray<T> device_input(input);
  const Norm<T> norm(shape);
  norm.take_statistics(device_input);

  const reference::BatchNorm expected(doubles(input), shape.rows, shape.channels, shape.epsilon);
  std::vector<double> running_mean, running_var;
  for (std::size_t c = 0; c < expected.mean.size(); ++c) {
    const double unbiased = expected.variance[c] * shape.rows / (shape.rows - 1);
    running_mean.push_back(0.9 * 0.25 + 0.1 * expected.mean[c]);
    running_var.push_back(0.9 * 2 + 0.1 * unbiased);
  }
  const auto tolerance = Tolerance::rounding<compute_type_t<T>>();
  require_close(norm.mean.to_host(), expected.mean, tolerance, "mean");
  require_close(norm.rstd.to_host(), expected.rstd, tolerance, "rstd");
  require_close(norm.running_mean.to_host(), running_mean, tolerance, "running mean");
  require_close(norm.running_var.to_host(), running_var, tolerance, "running variance");
}

TEST_CASE("the variance survives means far from zero, drifts and outliers", KERNEL_TAGS) {
  const std::int64_t rows = 20000, channels = 16;
  auto input = uniform_values<float>(rows * channels, 1);
  const int kind = GENERATE(0, 1, 2, 3);
  CAPTURE(kind);
  for (std::int64_t i = 0; i < rows * channels; ++i) {
    const std::int64_t row = i / channels;
    if (kind == 0) input[i] += 10000;                                // E[x²] - E[x]² would have no digit left
    if (kind == 1) input[i] += static_cast<float>(row);              // every chunk has a mean of its own
    if (kind == 2 && row == 0) input[i] = 1e6f;                      // the row that deviations might be taken from
    if (kind == 3) input[i] += row < rows / 2 ? -3000.f : 3000.f;  // a jump inside a chunk
  }
  const Norm<float> norm({rows, channels});
  norm.take_statistics(DeviceArray<float>(input));
  const reference::BatchNorm expected(doubles(input), rows, channels, norm.shape.epsilon);
  require_close(norm.rstd.to_host(), expected.rstd, {0, 1e-4}, "rstd");
  require_close(norm.mean.to_host(), expected.mean, {1e-4, 1e-6}, "mean");
}

TEMPLATE_TEST_CASE("constant channels have no variance", KERNEL_TAGS, float, double) {
  const Norm<TestType> norm({1000, 16});
  norm.take_statistics(DeviceArray<TestType>(16000, TestType(3.7)));
  require_close(norm.rstd.to_host(), std::vector<double>(16, 1 / std::sqrt(1e-5)), {0, 1e-5});
}

TEMPLATE_TEST_CASE("the norm is applied with residual and relu", KERNEL_TAGS, float, double, bf16, f16) {
  using T = TestType;
  BatchNormShape shape = some_shape();
  if (is_slow<T>(shape)) return;
  shape.relu = GENERATE(false, true);
  const bool has_residual = GENERATE(false, true), training = GENERATE(false, true);
  CAPTURE(shape.rows, shape.channels, shape.relu, has_residual, training);
  const auto input = uniform_values<T>(shape.rows * shape.channels, 1);
  const auto residual = uniform_values<T>(shape.rows * shape.channels, 2);
  const DeviceArray<T> device_input(input), device_residual(residual);
  const Norm<T> norm(shape);
  std::optional<reference::BatchNorm> expected;
  if (training) {
    norm.take_statistics(device_input);
    expected.emplace(doubles(input), shape.rows, shape.channels, shape.epsilon);
  } else {
    norm.use_running();
    const auto channels = static_cast<std::size_t>(shape.channels);
    expected.emplace(Vector(channels, 0.25), Vector(channels, 2.0), doubles(input), shape.rows, shape.channels,
                     shape.epsilon);
  }
  require_close(norm.apply(device_input, has_residual ? device_residual.data() : nullptr),
                expected->apply(doubles(norm.gamma.to_host()), doubles(norm.beta.to_host()),
                                has_residual ? doubles(residual) : Vector{}, shape.relu),
                Tolerance::rounding<T>());
}

TEST_CASE("relu keeps a NaN", KERNEL_TAGS) {
  BatchNormShape shape{2, 16};
  shape.relu = true;
  const Norm<float> norm(shape);
  norm.use_running();
  std::vector<float> input(32, 1.0f);
  input[5] = std::numeric_limits<float>::quiet_NaN();
  const auto output = norm.apply(DeviceArray<float>(input));
  for (std::size_t i = 0; i < output.size(); ++i) CHECK(std::isnan(output[i]) == (i == 5));
}

template <class T>
struct AllGradients {
  DeviceArray<T> input, residual;
  DeviceArray<compute_type_t<T>> gamma, beta;
};

/// batch_norm_backward() with everything wanted; each target holds `before` first.
template <class T>
AllGradients<T> all_gradients(const Norm<T>& norm, const DeviceArray<T>& input, const DeviceArray<T>& output,
                              const T* d_output, bool training, bool accumulate, T before,
                              const compute_type_t<T>* d_pool = nullptr, compute_type_t<T>* dots = nullptr) {
  const std::int64_t count = norm.shape.rows * norm.shape.channels;
  AllGradients<T> gradients{DeviceArray<T>(count, before), DeviceArray<T>(count, before),
                            DeviceArray<compute_type_t<T>>(norm.shape.channels, before),
                            DeviceArray<compute_type_t<T>>(norm.shape.channels, before)};
  BatchNormBackward<T> arguments{.input = input,
                                 .output = output,
                                 .d_output = d_output,
                                 .d_pool = d_pool,
                                 .mean = norm.mean,
                                 .rstd = norm.rstd,
                                 .gamma = norm.gamma,
                                 .batch_statistics = training,
                                 .d_input = gradients.input,
                                 .accumulate_input = accumulate,
                                 .d_residual = gradients.residual,
                                 .accumulate_residual = accumulate,
                                 .d_gamma = gradients.gamma,
                                 .accumulate_gamma = accumulate,
                                 .d_beta = gradients.beta,
                                 .accumulate_beta = accumulate,
                                 .dots = dots,
                                 .workspace = norm.workspace};
  kernels::batch_norm_backward<T>(norm.shape, arguments, main_stream());
  return gradients;
}

TEMPLATE_TEST_CASE("gradients of the norm equal plain loops", KERNEL_TAGS, float, double, bf16, f16) {
  using T = TestType;
  BatchNormShape shape = some_shape();
  if (is_slow<T>(shape)) return;
  shape.relu = GENERATE(false, true);
  const bool training = GENERATE(false, true), accumulate = GENERATE(false, true);
  CAPTURE(shape.rows, shape.channels, shape.relu, training, accumulate);
  const auto input = uniform_values<T>(shape.rows * shape.channels, 1);
  const auto output = uniform_values<T>(shape.rows * shape.channels, 2);
  const auto d_output = uniform_values<T>(shape.rows * shape.channels, 3);
  const DeviceArray<T> device_input(input);
  const Norm<T> norm(shape);
  std::optional<reference::BatchNorm> expected_norm;
  if (training) {
    norm.take_statistics(device_input);
    expected_norm.emplace(doubles(input), shape.rows, shape.channels, shape.epsilon);
  } else {
    norm.use_running();
    const auto channels = static_cast<std::size_t>(shape.channels);
    expected_norm.emplace(Vector(channels, 0.25), Vector(channels, 2.0), doubles(input), shape.rows, shape.channels,
                          shape.epsilon);
  }
  const T before = T(0.5);
  const auto actual = all_gradients<T>(norm, device_input, DeviceArray<T>(output), DeviceArray<T>(d_output), training,
                                       accumulate, before);
  auto expected = expected_norm->backward(doubles(norm.gamma.to_host()), doubles(output), doubles(d_output),
                                          shape.relu, training);
  for (Vector* gradient : {&expected.input, &expected.residual, &expected.gamma, &expected.beta})
    for (double& value : *gradient) value += accumulate ? static_cast<double>(before) : 0;
  const auto tolerance = Tolerance::rounding<T>(), of_float = Tolerance::rounding<compute_type_t<T>>();
  // A variance of next to nothing (two rows that happen to be close) magnifies the rounding of the input.
  const double largest_rstd = *std::max_element(expected_norm->rstd.begin(), expected_norm->rstd.end());
  const Tolerance of_input{tolerance.atol * std::max(1.0, largest_rstd), tolerance.rtol};
  // Sums over rows cancel: their error goes with the size of what is added.
  const Tolerance of_sums{of_float.atol * std::sqrt(static_cast<double>(shape.rows)), of_float.rtol};
  require_close(actual.input.to_host(), expected.input, of_input, "d_input");
  require_close(actual.residual.to_host(), expected.residual, tolerance, "d_residual");
  require_close(actual.gamma.to_host(), expected.gamma, of_sums, "d_gamma");
  require_close(actual.beta.to_host(), expected.beta, of_sums, "d_beta");
}

/// Samples of few and of many pixels, cut in different ways.
BatchNormShape some_images() {
  const auto [samples, pixels, channels] = GENERATE(table<std::int64_t, std::int64_t, std::int64_t>(
      {{2, 1, 16}, {3, 49, 10}, {5, 16, 512}, {4, 9, 37}, {2, 1024, 64}, {3, 1500, 24}, {2, 20000, 8}}));
  return {.rows = samples * pixels, .channels = channels, .samples = samples};
}

TEMPLATE_TEST_CASE("the norm pools what it writes", KERNEL_TAGS, float, double, bf16, f16) {
  using T = TestType;
  using Value = compute_type_t<T>;
  BatchNormShape shape = some_images();
  if (is_slow<T>(shape)) return;
  shape.relu = GENERATE(false, true);
  CAPTURE(shape.samples, shape.rows, shape.channels, shape.relu);
  const DeviceArray<T> input(uniform_values<T>(shape.rows * shape.channels, 1));
  const DeviceArray<T> residual(uniform_values<T>(shape.rows * shape.channels, 2));
  const DeviceArray<Value> pool(shape.samples * shape.channels, Value(7));
  const Norm<T> norm(shape);
  norm.take_statistics(input);
  const std::vector<T> output = norm.apply(input, residual, pool);
  CHECK(doubles(output) == doubles(norm.apply(input, residual)));
  auto expected = reference::column_sums(doubles(output), shape.samples, shape.pixels(), shape.channels);
  for (double& value : expected) value /= static_cast<double>(shape.pixels());
  require_close(pool.to_host(), expected, Tolerance::rounding<Value>());
}

TEMPLATE_TEST_CASE("the norm takes a pool's gradient, with that of the output or alone", KERNEL_TAGS, float, double,
                   bf16, f16) {
  using T = TestType;
  using Value = compute_type_t<T>;
  BatchNormShape shape = some_images();
  if (is_slow<T>(shape)) return;
  shape.relu = GENERATE(false, true);
  const bool alone = GENERATE(false, true);
  CAPTURE(shape.samples, shape.rows, shape.channels, shape.relu, alone);
  const auto input = uniform_values<T>(shape.rows * shape.channels, 1);
  const auto output = uniform_values<T>(shape.rows * shape.channels, 2);
  const auto d_output = uniform_values<T>(shape.rows * shape.channels, 3);
  const auto d_pool = uniform_values<Value>(shape.samples * shape.channels, 4, 10);
  const DeviceArray<T> device_input(input), device_d_output(d_output);
  const Norm<T> norm(shape);
  norm.take_statistics(device_input);
  const auto actual =
      all_gradients<T>(norm, device_input, DeviceArray<T>(output), alone ? nullptr : device_d_output.data(), true,
                       false, T(0), DeviceArray<Value>(d_pool));
  Vector arriving = alone ? Vector(d_output.size()) : doubles(d_output);
  for (std::int64_t i = 0; i < shape.rows * shape.channels; ++i) {
    const std::int64_t sample = i / (shape.pixels() * shape.channels);
    arriving[i] += d_pool[sample * shape.channels + i % shape.channels] / static_cast<double>(shape.pixels());
  }
  const reference::BatchNorm reference(doubles(input), shape.rows, shape.channels, shape.epsilon);
  const auto expected = reference.backward(doubles(norm.gamma.to_host()), doubles(output), arriving, shape.relu, true);
  const auto tolerance = Tolerance::rounding<T>(), of_float = Tolerance::rounding<Value>();
  // As above: close rows magnify, and sums cancel.
  const double largest_rstd = *std::max_element(reference.rstd.begin(), reference.rstd.end());
  const Tolerance of_input{10 * tolerance.atol * std::max(1.0, largest_rstd), tolerance.rtol};
  const Tolerance of_sums{10 * of_float.atol * std::sqrt(static_cast<double>(shape.rows)), of_float.rtol};
  require_close(actual.input.to_host(), expected.input, of_input, "d_input");
  require_close(actual.residual.to_host(), expected.residual, tolerance, "d_residual");
  require_close(actual.gamma.to_host(), expected.gamma, of_sums, "d_gamma");
  require_close(actual.beta.to_host(), expected.beta, of_sums, "d_beta");
}

TEMPLATE_TEST_CASE("the norm's backward sums its gradient times its input by sample", KERNEL_TAGS, float, double, bf16,
                   f16) {
  using T = TestType;
  using Value = compute_type_t<T>;
  BatchNormShape shape = some_images();
  if (is_slow<T>(shape)) return;
  shape.relu = GENERATE(false, true);
  const bool training = GENERATE(false, true);
  CAPTURE(shape.samples, shape.rows, shape.channels, shape.relu, training);
  const auto input = uniform_values<T>(shape.rows * shape.channels, 1);
  const auto output = uniform_values<T>(shape.rows * shape.channels, 2);
  const auto d_output = uniform_values<T>(shape.rows * shape.channels, 3);
  const DeviceArray<T> device_input(input), device_output(output), device_d_output(d_output);
  const std::int64_t parts = kernels::batch_norm_dot_parts<T>(shape);
  const DeviceArray<Value> dots(shape.samples * parts * shape.channels, Value(7));
  const Norm<T> norm(shape);
  norm.take_statistics(device_input);
  const auto with_dots =
      all_gradients<T>(norm, device_input, device_output, device_d_output, training, false, T(0), nullptr, dots);
  const auto without = all_gradients<T>(norm, device_input, device_output, device_d_output, training, false, T(0));
  CHECK(doubles(with_dots.input.to_host()) == doubles(without.input.to_host()));
  CHECK(doubles(with_dots.residual.to_host()) == doubles(without.residual.to_host()));
  const reference::BatchNorm reference(doubles(input), shape.rows, shape.channels, shape.epsilon);
  auto products =
      reference.backward(doubles(norm.gamma.to_host()), doubles(output), doubles(d_output), shape.relu, training).input;
  for (std::size_t i = 0; i < products.size(); ++i) products[i] *= input[i];
  // The gradient cancels, most of all that of two rows: its error goes with what it is made of.
  const double largest_rstd = *std::max_element(reference.rstd.begin(), reference.rstd.end());
  require_small_error<Value>(reference::column_sums(doubles(dots.to_host()), shape.samples, parts, shape.channels),
                             reference::column_sums(products, shape.samples, shape.pixels(), shape.channels),
                             largest_rstd * norm_of(doubles(d_output)), "dots");
}

TEST_CASE("each gradient of the norm is the same when wanted alone", KERNEL_TAGS) {
  BatchNormShape shape{300, 24};
  shape.relu = true;
  const bool training = GENERATE(false, true);
  const DeviceArray<float> input(uniform_values<float>(7200, 1)), d_output(uniform_values<float>(7200, 3));
  const DeviceArray<float> output(uniform_values<float>(7200, 2));
  const Norm<float> norm(shape);
  norm.take_statistics(input);
  const auto all = all_gradients<float>(norm, input, output, d_output, training, false, 0);
  const auto alone = [&](std::int64_t count, auto target) {
    const DeviceArray<float> gradient(count);
    BatchNormBackward<float> arguments{.input = input, .output = output, .d_output = d_output, .mean = norm.mean,
                                       .rstd = norm.rstd, .gamma = norm.gamma, .batch_statistics = training,
                                       .workspace = norm.workspace};
    arguments.*target = gradient;
    kernels::batch_norm_backward<float>(shape, arguments, main_stream());
    return gradient.to_host();
  };
  CHECK(alone(7200, &BatchNormBackward<float>::d_input) == all.input.to_host());
  CHECK(alone(7200, &BatchNormBackward<float>::d_residual) == all.residual.to_host());
  CHECK(alone(24, &BatchNormBackward<float>::d_gamma) == all.gamma.to_host());
  CHECK(alone(24, &BatchNormBackward<float>::d_beta) == all.beta.to_host());
}

TEST_CASE("gradients of the norm equal central differences", KERNEL_TAGS) {
  BatchNormShape shape{5, 3};
  shape.relu = GENERATE(false, true);
  const bool training = GENERATE(false, true);
  CAPTURE(shape.relu, training);
  const auto input = uniform_values(15, 1), residual = uniform_values(15, 2), gamma = uniform_values(3, 3),
             beta = uniform_values(3, 4);
  const auto prepared = [&](const Vector& of_input, const Vector& of_gamma, const Vector& of_beta) {
    Norm<double> norm(shape, of_gamma, of_beta);
    if (training)
      norm.take_statistics(DeviceArray<double>(of_input));
    else
      norm.use_running();
    return norm;
  };
  const auto forward = [&](const Vector& x, const Vector& r, const Vector& g, const Vector& b) {
    return prepared(x, g, b).apply(DeviceArray<double>(x), DeviceArray<double>(r));
  };
  const Vector output = forward(input, residual, gamma, beta);
  for (double value : output) REQUIRE((!shape.relu || value == 0 || value > 1e-3));  // away from the kink
  const auto backward = [&](const Vector& cotangent) {
    return all_gradients<double>(prepared(input, gamma, beta), DeviceArray<double>(input), DeviceArray<double>(output),
                                 DeviceArray<double>(cotangent), training, false, 0);
  };
  check_gradient(
      "batch norm by input", [&](const Vector& x) { return forward(x, residual, gamma, beta); },
      [&](const Vector&, const Vector& cotangent) { return backward(cotangent).input.to_host(); }, input);
  check_gradient(
      "batch norm by residual", [&](const Vector& r) { return forward(input, r, gamma, beta); },
      [&](const Vector&, const Vector& cotangent) { return backward(cotangent).residual.to_host(); }, residual);
  check_gradient(
      "batch norm by gamma", [&](const Vector& g) { return forward(input, residual, g, beta); },
      [&](const Vector&, const Vector& cotangent) { return backward(cotangent).gamma.to_host(); }, gamma);
  check_gradient(
      "batch norm by beta", [&](const Vector& b) { return forward(input, residual, gamma, b); },
      [&](const Vector&, const Vector& cotangent) { return backward(cotangent).beta.to_host(); }, beta);
}

TEMPLATE_TEST_CASE("statistics are combined from moments of parts", KERNEL_TAGS, float, bf16) {
  const auto [groups, group_rows, part_rows] = GENERATE(table<std::int64_t, std::int64_t, std::int64_t>(
      {{1, 2, 32}, {1, 33, 32}, {5, 7, 3}, {3, 1000, 512}, {300, 4, 4}}));
  constexpr std::size_t channels = 24;
  const auto parts = kernels::MomentParts::cut(groups, group_rows, part_rows);
  CAPTURE(groups, group_rows, part_rows);
  // Mean 1000, standard deviation 0.1, in f32: what a sum of squares would lose.
  std::vector<float> rows, moments;
  for (const double value : uniform_values(parts.rows() * channels, 3)) rows.push_back(1000 + 0.1732f * float(value));
  for (std::int64_t part = 0, row = 0; part < parts.count(); row += parts.rows_of(part++)) {
    const auto at = [&](std::int64_t number) { return rows.begin() + number * std::int64_t{channels}; };
    const std::vector<float> own(at(row), at(row + parts.rows_of(part)));
    const ColumnStatistics of_part = statistics_of_rows(own, channels);
    for (std::size_t c = 0; c < 2 * channels; ++c)
      moments.push_back(static_cast<float>(of_part[c] * (c < channels ? 1.0 : double(parts.rows_of(part)))));
  }
  const Norm<TestType> norm({.rows = parts.rows(), .channels = channels, .epsilon = 0});
  kernels::batch_norm_combine<TestType>(norm.shape, parts, DeviceArray<float>(moments), norm.mean, norm.rstd,
                                        norm.running_mean, norm.running_var, nullptr, 0.1, main_stream());
  ColumnStatistics combined;
  for (const float mean : norm.mean.to_host()) combined.push_back(mean);
  for (const float rstd : norm.rstd.to_host()) combined.push_back(1 / (double(rstd) * rstd));
  const ColumnStatistics expected = statistics_of_parts(parts, moments, channels);
  require_close(combined, expected, Tolerance::rounding<float>(), "means, then variances");
  std::vector<float> running_mean;
  for (std::size_t c = 0; c < channels; ++c)
    running_mean.push_back(static_cast<float>(0.25 + 0.1 * (expected[c] - 0.25)));
  require_close(norm.running_mean.to_host(), running_mean, Tolerance::rounding<float>(), "running means");
}

TEMPLATE_TEST_CASE("the norm does not depend on the number of threads", KERNEL_TAGS, float, double) {
  using T = TestType;
  const BatchNormShape shape{.rows = 2 * 10006, .channels = 48, .relu = true, .samples = 2};
  const DeviceArray<T> input(uniform_values<T>(shape.rows * shape.channels, 1));
  const DeviceArray<T> d_output(uniform_values<T>(shape.rows * shape.channels, 2));
  std::vector<std::vector<T>> results[2];
  for (int threads : {1, 2}) {
    const WithThreads with(threads);
    const Norm<T> norm(shape);
    norm.take_statistics(input);
    const DeviceArray<T> pool(2 * shape.channels), output(norm.apply(input, nullptr, pool)),
        dots(2 * kernels::batch_norm_dot_parts<T>(shape) * shape.channels);
    const auto gradients = all_gradients<T>(norm, input, output, d_output, true, false, 0, pool, dots);
    results[threads - 1] = {norm.mean.to_host(),
                            norm.rstd.to_host(),
                            norm.running_var.to_host(),
                            output.to_host(),
                            gradients.input.to_host(),
                            gradients.residual.to_host(),
                            gradients.gamma.to_host(),
                            gradients.beta.to_host(),
                            pool.to_host(),
                            dots.to_host()};
  }
  CHECK(results[0] == results[1]);
}

TEST_CASE("the norm refuses impossible shapes", "[kernels]") {
  const auto statistics = [](BatchNormShape shape) {
    kernels::batch_norm_statistics<float>(shape, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 0.1, nullptr,
                                          main_stream());
  };
  CHECK_THROWS_WITH(statistics({1, 16}), "[batch_norm] expected at least 2 rows to take statistics of, got 1");
  CHECK_THROWS_WITH(statistics({0, 16}), "[batch_norm] expected at least 1 row, got 0");
  CHECK_THROWS_WITH(kernels::batch_norm_workspace<float>({2, 0}), "[batch_norm] expected at least 1 channel, got 0");
  CHECK_THROWS_WITH(kernels::batch_norm_workspace<float>({.rows = 10, .channels = 8, .samples = 4}),
                    "[batch_norm] expected rows that 4 samples share evenly, got 10");
  CHECK_THROWS_WITH(
      kernels::batch_norm_combine<float>({.rows = 10, .channels = 8}, kernels::MomentParts::cut(3, 3, 2), nullptr,
                                         nullptr, nullptr, nullptr, nullptr, nullptr, 0.1, main_stream()),
      "[batch_norm] expected moments of 10 rows, got those of 9");
  const float somewhere[1] = {};
  BatchNormBackward<float> arguments{};
  arguments.dots = const_cast<float*>(somewhere);
  CHECK_THROWS_WITH(kernels::batch_norm_backward<float>({2, 8}, arguments, main_stream()),
                    "[batch_norm] expected a gradient of the input that is written for its dot product, got none");
}

}  // namespace
}  // namespace omniconv::test
