// Gradients of functions of variables against central differences, in f64.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/autograd.h"
#include "tests/random.h"
#include "tests/tolerance.h"

namespace omniconv::test {

struct NamedVariable {
  std::string name;
  Variable variable;
};

/// Checks the gradient of <function(tape), cotangent> with respect to each of `inputs` (f64, requiring gradients),
/// element by element, against central differences; at most `probes` elements of each, evenly spread. The cotangent is
/// random: with a full-rank set of probes a wrong Jacobian does not survive it.
inline void check_gradients(const std::function<Variable(Tape&)>& function, const std::vector<NamedVariable>& inputs,
                            std::int64_t probes = 64, double step = 1e-5,
                            Tolerance tolerance = Tolerance::differences()) {
  constexpr std::uint64_t cotangent_seed = 20221;
  Tape tape;
  for (const NamedVariable& input : inputs) input.variable.begin_gradient();
  const Variable output = function(tape);
  const Tensor cotangent = uniform_tensor<double>(output.shape(), cotangent_seed);
  const std::vector<double> weights = cotangent.to_doubles();
  tape.backward(output, cotangent);

  const auto value = [&] {
    Tape silent(false);
    const std::vector<double> outputs = function(silent).value().to_doubles();
    double sum = 0;
    for (std::size_t i = 0; i < outputs.size(); ++i) sum += outputs[i] * weights[i];
    return sum;
  };

  for (const NamedVariable& input : inputs) {
    const Tensor gradient = input.variable.grad();
    INFO("gradient of " << input.name);
    REQUIRE(gradient.defined());
    const std::vector<double> analytic = gradient.to_doubles();
    const std::vector<double> original = input.variable.value().to_doubles();
    const auto count = static_cast<std::int64_t>(original.size());
    const std::int64_t stride = std::max<std::int64_t>(1, count / probes);
    std::vector<double> probed, differences;
    std::vector<double> moved = original;
    for (std::int64_t i = 0; i < count; i += stride) {
      const auto e = static_cast<std::size_t>(i);
      moved[e] = original[e] + step;
      input.variable.value().copy_from_host(moved.data());
      const double above = value();
      moved[e] = original[e] - step;
      input.variable.value().copy_from_host(moved.data());
      const double below = value();
      moved[e] = original[e];
      probed.push_back(analytic[e]);
      differences.push_back((above - below) / (2 * step));
    }
    input.variable.value().copy_from_host(original.data());
    require_close(probed, differences, tolerance, "gradient of " + input.name + ", every " + std::to_string(stride) +
                                                      "th element");
  }
}

}  // namespace omniconv::test
