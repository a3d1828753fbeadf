// The kernels as plain loops over their definition, in f64.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace omniconv::reference {

using Values = std::vector<double>;

template <class T>
Values doubles(const std::vector<T>& values) {
  return {values.begin(), values.end()};
}

/// a·b for a [batch, rows, inner] and b [batch, inner, columns], either stored transposed.
inline Values gemm(std::int64_t batch, std::int64_t rows, std::int64_t columns, std::int64_t inner, bool transpose_a,
                   bool transpose_b, const Values& a, const Values& b) {
  Values c(static_cast<std::size_t>(batch * rows * columns));
  for (std::int64_t n = 0; n < batch; ++n)
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j)
        for (std::int64_t k = 0; k < inner; ++k)
          c[(n * rows + i) * columns + j] += a[n * rows * inner + (transpose_a ? k * rows + i : i * inner + k)] *
                                             b[n * inner * columns + (transpose_b ? j * inner + k : k * columns + j)];
  return c;
}

/// Σ_row values[group, row, column].
inline Values column_sums(const Values& values, std::int64_t groups, std::int64_t rows, std::int64_t columns) {
  Values sums(static_cast<std::size_t>(groups * columns));
  for (std::int64_t g = 0; g < groups; ++g)
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < columns; ++c) sums[g * columns + c] += values[(g * rows + r) * columns + c];
  return sums;
}

struct BatchNorm {
  Values mean, variance;  // biased
  Values normalised;      // (x - mean) / sqrt(variance + epsilon)
  Values rstd;

  /// From the statistics of the rows of input [rows, channels].
  BatchNorm(const Values& input, std::int64_t rows, std::int64_t channels, double epsilon)
      : BatchNorm(column_means(input, rows, channels), {}, input, rows, channels, epsilon) {}

  /// With statistics as given; an empty variance is that of the rows.
  BatchNorm(Values given_mean, Values given_variance, const Values& input, std::int64_t rows, std::int64_t channels,
            double epsilon)
      : mean(std::move(given_mean)), variance(std::move(given_variance)), normalised(input) {
    if (variance.empty()) {
      variance.resize(mean.size());
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < channels; ++c)
          variance[c] += std::pow(input[r * channels + c] - mean[c], 2) / static_cast<double>(rows);
    }
    for (double v : variance) rstd.push_back(1 / std::sqrt(v + epsilon));
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < channels; ++c)
        normalised[r * channels + c] = (input[r * channels + c] - mean[c]) * rstd[c];
  }

  static Values column_means(const Values& input, std::int64_t rows, std::int64_t channels) {
    Values sums = column_sums(input, 1, rows, channels);
    for (double& sum : sums) sum /= static_cast<double>(rows);
    return sums;
  }

  /// relu?(gamma · normalised + beta + residual); an empty residual stands for zeros.
  Values apply(const Values& gamma, const Values& beta, const Values& residual, bool relu) const {
    Values output(normalised.size());
    for (std::size_t i = 0; i < output.size(); ++i) {
      const std::size_t c = i % gamma.size();
      output[i] = gamma[c] * normalised[i] + beta[c] + (residual.empty() ? 0 : residual[i]);
      if (relu && output[i] < 0) output[i] = 0;
    }
    return output;
  }

  struct Gradients {
    Values input, residual, gamma, beta;
  };

  /// From the gradient of apply()'s output; `training` says whether the statistics were those of the rows.
  Gradients backward(const Values& gamma, const Values& output, const Values& d_output, bool relu,
                     bool training) const {
    const std::size_t channels = gamma.size();
    const double rows = static_cast<double>(normalised.size() / channels);
    Gradients g{Values(normalised.size()), d_output, Values(channels), Values(channels)};
    for (std::size_t i = 0; i < d_output.size(); ++i) {
      if (relu && !(output[i] > 0)) g.residual[i] = 0;
      g.beta[i % channels] += g.residual[i];
      g.gamma[i % channels] += g.residual[i] * normalised[i];
    }
    for (std::size_t i = 0; i < d_output.size(); ++i) {
      const std::size_t c = i % channels;
      const double through_statistics = training ? (g.beta[c] + normalised[i] * g.gamma[c]) / rows : 0;
      g.input[i] = gamma[c] * rstd[c] * (g.residual[i] - through_statistics);
    }
    return g;
  }
};

/// exp(values/temperature) over their sum, along the last axis, of size `classes`.
inline Values softmax(const Values& values, std::int64_t classes, double temperature = 1) {
  Values result(values.size());
  const std::int64_t rows = static_cast<std::int64_t>(values.size()) / classes;
  for (std::int64_t n = 0; n < rows; ++n) {
    double largest = values[n * classes], sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) largest = std::fmax(largest, values[n * classes + c]);
    for (std::int64_t c = 0; c < classes; ++c) sum += std::exp((values[n * classes + c] - largest) / temperature);
    for (std::int64_t c = 0; c < classes; ++c)
      result[n * classes + c] = std::exp((values[n * classes + c] - largest) / temperature) / sum;
  }
  return result;
}

}  // namespace omniconv::reference
