// How results are held against a fixture, how close they have to be, and what a difference is reported as.
#pragma once

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "tests/catch.h"
#include "tests/pytorch/closed_form.h"
#include "tests/pytorch/fixture.h"

namespace omniconv::pytorch {

/// The largest |a - b| that passes, in units of the largest |b| of the tensor.
///
/// Relative to the tensor's largest magnitude, not to each element: an element is a sum whose rounding error grows with
/// its terms, and these are of the tensor's magnitude even where they cancel to a small sum. An absolute floor on top
/// would hide a wrong small tensor, such as a gradient through an attention near saturation.
struct Bars {
  double values;     ///< of outputs, attentions, running statistics, weights and their changes
  double gradients;  ///< sums over many more terms

  /// Layers and blocks. The fixtures' seeds are such that PyTorch's own two forms agree within 1e-11 in f64 and that
  /// its f32 agrees with its f64 within 2e-6 for values and 2e-5 for gradients: a fifth of the bars here.
  static Bars layer(DType dtype) { return dtype == DType::f64 ? Bars{1e-9, 1e-9} : Bars{1e-5, 1e-4}; }
  /// Whole nets and training, in f64: twenty normalisations one after the other; PyTorch's forms agree within 1e-9.
  static constexpr Bars network() { return {1e-7, 1e-7}; }
};

/// Where a tensor differs most, in units of its largest expected magnitude.
struct Deviation {
  double relative = 0;  ///< infinite where a NaN or an infinity is involved
  std::size_t index = 0;
  double actual = 0, expected = 0;
};

/// The worst deviation among the elements [first, last), which share one scale. Where all of them are expected to be
/// zero, nothing but zero will do.
inline Deviation worst_deviation(const std::vector<double>& actual, const std::vector<double>& expected,
                                 std::size_t first, std::size_t last) {
  double scale = 0;
  for (std::size_t i = first; i < last; ++i) scale = std::max(scale, std::abs(expected[i]));
  Deviation worst;
  for (std::size_t i = first; i < last; ++i) {
    const double difference = std::abs(actual[i] - expected[i]);
    double relative = difference == 0 ? 0 : difference / scale;
    if (!std::isfinite(difference) || std::isnan(relative)) relative = std::numeric_limits<double>::infinity();
    if (i == first || relative > worst.relative) worst = {relative, i, actual[i], expected[i]};
  }
  return worst;
}

/// What a fixture holds of its tensors other than "value/..." ones.
enum class Form {
  tensors,    ///< all of it; one scale for all elements
  summaries,  ///< rows of a norm and samples; one scale for the norm, one for the samples of the row
};

inline Deviation worst_deviation(const std::vector<double>& actual, const std::vector<double>& expected, Form form) {
  if (form == Form::tensors) return worst_deviation(actual, expected, 0, expected.size());
  constexpr std::size_t row = 1 + summary_samples;
  Deviation worst;
  for (std::size_t first = 0; first < expected.size(); first += row)
    for (const Deviation& found : {worst_deviation(actual, expected, first, first + 1),
                                   worst_deviation(actual, expected, first + 1, first + row)})
      if (found.relative > worst.relative) worst = found;
  return worst;
}

/// What a comparison found: a message for each tensor that does not agree, and the worst deviations of all.
struct Findings {
  std::vector<std::string> mismatches;
  double worst_value = 0, worst_gradient = 0;
};

/// All digits of a number, so that a difference in the last ones shows.
inline std::string digits(double number) {
  std::ostringstream text;
  text << std::setprecision(std::numeric_limits<double>::max_digits10) << number;
  return text.str();
}

/// Compares all tensors of a case, in both directions: one that either side lacks is a mismatch as well. `what` names
/// the case in messages.
inline Findings compare(const std::string& what, const Results& actual, const Results& expected, const Bars& bars,
                        Form form) {
  Findings findings;
  const auto report = [&](const std::string& key, const auto&... parts) {
    findings.mismatches.push_back(concat(what, ": ", key, ' ', parts...));
  };
  for (const auto& [key, tensor] : actual)
    if (!expected.contains(key)) report(key, "is unknown to PyTorch");
  for (const auto& [key, tensor] : expected) {
    const auto found = actual.find(key);
    if (found == actual.end()) {
      report(key, "is missing");
      continue;
    }
    if (found->second.dtype != tensor.dtype || found->second.shape != tensor.shape) {
      report(key, "is ", name_of(found->second.dtype), ' ', found->second.shape, ", expected ", name_of(tensor.dtype),
             ' ', tensor.shape);
      continue;
    }
    if (tensor.dtype == DType::i64) {
      if (found->second != tensor)
        report(key, "is ", to_integers(found->second, key), ", expected ", to_integers(tensor, key));
      continue;
    }
    const bool gradient = key.starts_with("grad/");
    const double bar = gradient ? bars.gradients : bars.values;
    const Deviation worst = worst_deviation(to_doubles(found->second, key), to_doubles(tensor, key),
                                            key.starts_with("value/") ? Form::tensors : form);
    double& overall = gradient ? findings.worst_gradient : findings.worst_value;
    overall = std::max(overall, worst.relative);
    if (!(worst.relative <= bar))
      report(key, "differs most at ", worst.index, ": got ", digits(worst.actual), ", expected ",
             digits(worst.expected), ", off by ", worst.relative, " of the largest magnitude, allowed ", bar);
  }
  return findings;
}

/// Fails the test for every tensor that does not agree; `-s` shows how close those are that do.
inline void check_agreement(const std::string& what, const Results& actual, const Results& expected, const Bars& bars,
                            Form form) {
  const Findings findings = compare(what, actual, expected, bars, form);
  for (const std::string& mismatch : findings.mismatches) FAIL_CHECK(mismatch);
  SUCCEED(concat(what, ": worst value ", findings.worst_value, ", worst gradient ", findings.worst_gradient));
}

}  // namespace omniconv::pytorch
