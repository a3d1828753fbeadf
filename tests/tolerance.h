// How close is close enough, in one table per type, and the check that uses it.
#pragma once

#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/error.h"
#include "kernels/half.h"
#include "tests/catch.h"

namespace omniconv::test {

/// |a - b| <= atol + rtol · max(|a|, |b|)
struct Tolerance {
  double atol;
  double rtol;

  /// For results that differ by rounding and the order of sums; those of 16 bits were computed in f32 and rounded once.
  template <class T>
  static constexpr Tolerance rounding() {
    if (std::is_same_v<T, double>) return {1e-12, 1e-10};
    if (std::is_same_v<T, bf16>) return {2e-5, 4e-3};
    if (std::is_same_v<T, f16>) return {2e-5, 5e-4};
    return {2e-5, 2e-5};
  }
  /// For losses of nets in 16 bits against the same nets in f32.
  static constexpr Tolerance half_losses() { return {0.02, 0.05}; }
  /// For analytic gradients in f64 against central differences.
  static constexpr Tolerance differences() { return {1e-7, 1e-6}; }

  bool holds(double a, double b) const {
    // Written so that a NaN never passes.
    return std::abs(a - b) <= atol + rtol * std::max(std::abs(a), std::abs(b));
  }
};

/// Fails the test unless all elements are close; says where they differ most, in units of what is allowed.
template <class A, class B>
void require_close(const std::vector<A>& actual, const std::vector<B>& expected, const Tolerance& tolerance,
                   const std::string& what = "values") {
  INFO(what);
  REQUIRE(actual.size() == expected.size());
  std::size_t worst = 0, failures = 0;
  double worst_excess = -1;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const auto a = static_cast<double>(actual[i]), b = static_cast<double>(expected[i]);
    if (tolerance.holds(a, b)) continue;
    ++failures;
    const double excess = std::abs(a - b) / (tolerance.atol + tolerance.rtol * std::max(std::abs(a), std::abs(b)));
    if (std::isnan(excess) || excess > worst_excess) {
      worst = i;
      worst_excess = excess;
      if (std::isnan(excess)) break;
    }
  }
  if (failures == 0) {
    SUCCEED();
    return;
  }
  FAIL(concat(what, ": ", failures, " of ", actual.size(), " differ, worst at ", worst, ": got ", actual[worst],
              ", expected ", expected[worst]));
}

/// What ‖a - b‖ / ‖b‖ of results computed in T may be, with b from f64.
template <class T>
constexpr double allowed_error() {
  return std::is_same_v<T, bf16> ? 5e-3 : std::is_same_v<T, f16> ? 1e-3 : std::is_same_v<T, float> ? 1e-5 : 1e-12;
}

template <class Value>
double norm_of(const std::vector<Value>& values) {
  double squares = 0;
  for (const Value value : values) squares += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(squares);
}

/// Fails the test unless ‖actual - expected‖ / norm is what T allows.
template <class T, class A, class B>
void require_small_error(const std::vector<A>& actual, const std::vector<B>& expected, double norm,
                         const std::string& what) {
  INFO(what);
  REQUIRE(actual.size() == expected.size());
  std::vector<double> difference;
  for (std::size_t i = 0; i < actual.size(); ++i)
    difference.push_back(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
  REQUIRE(norm_of(difference) <= allowed_error<T>() * norm);
}

/// Fails the test unless ‖actual - expected‖ / ‖expected‖ is what T allows.
template <class T, class A, class B>
void require_small_error(const std::vector<A>& actual, const std::vector<B>& expected, const std::string& what) {
  require_small_error<T>(actual, expected, norm_of(expected), what);
}

}  // namespace omniconv::test
