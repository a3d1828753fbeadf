// Figures of several runs or steps.
#pragma once

#include <vector>

namespace omniconv {

/// The value below which `part`, in [0, 1], of the ascending `values`, at least one, lie; between neighbours linearly.
double quantile(const std::vector<double>& values, double part);
/// The middle of at least one value, the mean of the middle two of an even number.
double median(std::vector<double> values);

struct Spread {
  double mean = 0;
  double standard_deviation = 0;  ///< of a sample (n - 1); 0 for one value
};

/// @throws Error for no values.
Spread spread_of(const std::vector<double>& values);

/// Two-sided p-value of the hypothesis that the differences of pairs are as likely to be of either sign: the part of
/// all 2^n choices of signs whose mean is at least as far from 0 (Fisher's exact randomisation test). Beyond 20 pairs
/// the count would take too long: 65 536 choices are drawn then. @throws Error for no differences.
double sign_flip_p_value(const std::vector<double>& differences);

}  // namespace omniconv
