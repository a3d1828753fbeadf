#include "apps/training/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "kernels/error.h"
#include "kernels/philox.h"

namespace omniconv {
namespace {

constexpr std::size_t most_exact_pairs = 20;
constexpr std::uint64_t drawn_choices = 1 << 16;

/// Bit `pair` of the `choice`-th row of signs: of all rows, or of drawn ones.
bool is_flipped(std::uint64_t choice, std::size_t pair, bool exact) {
  if (exact) return (choice >> pair & 1) != 0;
  return (Philox(choice, 0).words(pair).word[0] & 1) != 0;
}

}  // namespace

double quantile(const std::vector<double>& values, double part) {
  const double position = part * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(position), above = std::min(below + 1, values.size() - 1);
  return values[below] + (position - static_cast<double>(below)) * (values[above] - values[below]);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return quantile(values, 0.5);
}

Spread spread_of(const std::vector<double>& values) {
  expect(!values.empty(), "statistics", "expected at least 1 value, got none");
  const auto count = static_cast<double>(values.size());
  Spread spread{std::accumulate(values.begin(), values.end(), 0.0) / count, 0};
  if (values.size() < 2) return spread;
  double squares = 0;
  for (const double value : values) squares += (value - spread.mean) * (value - spread.mean);
  spread.standard_deviation = std::sqrt(squares / (count - 1));
  return spread;
}

double sign_flip_p_value(const std::vector<double>& differences) {
  expect(!differences.empty(), "statistics", "expected at least 1 pair, got none");
  const bool exact = differences.size() <= most_exact_pairs;
  const std::uint64_t choices = exact ? std::uint64_t{1} << differences.size() : drawn_choices;
  const double observed = std::abs(std::accumulate(differences.begin(), differences.end(), 0.0));
  double scale = 0;
  for (const double difference : differences) scale += std::abs(difference);
  std::uint64_t as_far = 0;
  for (std::uint64_t choice = 0; choice < choices; ++choice) {
    double sum = 0;
    for (std::size_t i = 0; i < differences.size(); ++i)
      sum += is_flipped(choice, i, exact) ? -differences[i] : differences[i];
    as_far += std::abs(sum) >= observed - 1e-12 * scale;  // the order of the sum must not decide
  }
  return static_cast<double>(as_far) / static_cast<double>(choices);
}

}  // namespace omniconv
