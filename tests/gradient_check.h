// Gradients of plain functions of vectors against central differences, in f64. What is on a tape has autograd_check.h.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/random.h"
#include "tests/tolerance.h"

namespace omniconv::test {

using Vector = std::vector<double>;

/// Maps inputs to outputs, and to the gradient of <output, cotangent> with respect to the inputs.
using Function = std::function<Vector(const Vector& inputs)>;
using Backward = std::function<Vector(const Vector& inputs, const Vector& cotangent)>;

/// Outputs times inputs up to which every element of the Jacobian is checked; above, <output, random cotangent> is.
inline constexpr std::size_t full_jacobian_elements = 4096;

inline void check_gradient(const std::string& what, const Function& function, const Backward& backward,
                           const Vector& inputs, double step = 1e-6, Tolerance tolerance = Tolerance::differences()) {
  const std::size_t outputs = function(inputs).size();
  std::vector<Vector> cotangents;
  if (outputs * inputs.size() <= full_jacobian_elements) {
    cotangents.assign(outputs, Vector(outputs, 0.0));
    for (std::size_t o = 0; o < outputs; ++o) cotangents[o][o] = 1;
  } else {
    cotangents.push_back(uniform_values(static_cast<std::int64_t>(outputs), 20221));
  }

  Vector analytic;
  for (const Vector& cotangent : cotangents) {
    const Vector gradient = backward(inputs, cotangent);
    REQUIRE(gradient.size() == inputs.size());
    analytic.insert(analytic.end(), gradient.begin(), gradient.end());
  }

  Vector differences(analytic.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const double width = step * std::max(1.0, std::abs(inputs[i]));
    Vector moved = inputs;
    moved[i] = inputs[i] + width;
    const Vector above = function(moved);
    const double to_right = moved[i] - inputs[i];
    moved[i] = inputs[i] - width;
    const Vector below = function(moved);
    const double to_left = inputs[i] - moved[i];
    for (std::size_t c = 0; c < cotangents.size(); ++c) {
      double slope = 0;
      for (std::size_t o = 0; o < outputs; ++o) slope += cotangents[c][o] * (above[o] - below[o]);
      differences[c * inputs.size() + i] = slope / (to_right + to_left);
    }
  }
  require_close(analytic, differences, tolerance,
                "gradient of " + what + ", element [cotangent · " + std::to_string(inputs.size()) + " + input]");
}

}  // namespace omniconv::test
