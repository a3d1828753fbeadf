// Kernels that serve inference and folded models, against plain loops.
#include <cmath>

#include "engine/device.h"
#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "tests/random.h"
#include "tests/tolerance.h"

namespace omniconv {
namespace {

using test::require_close;
using test::Tolerance;
using test::uniform_tensor;

TEMPLATE_TEST_CASE("apply_affine leaves out what is not given", "[elementwise]", float, double) {
  const std::int64_t rows = 5, columns = 7;
  const Tensor input = uniform_tensor<TestType>({rows, columns}, 1), scale = uniform_tensor<TestType>({columns}, 2),
               shift = uniform_tensor<TestType>({columns}, 3), residual = uniform_tensor<TestType>({rows, columns}, 4);
  for (int given = 0; given < 16; ++given) {
    const bool scaled = given & 1, shifted = given & 2, added = given & 4, relu = given & 8;
    INFO("scale " << scaled << ", shift " << shifted << ", residual " << added << ", relu " << relu);
    const Tensor output = Tensor::empty({rows, columns}, input.dtype());
    kernels::apply_affine<TestType>(
        input.data<TestType>(), scaled ? scale.data<TestType>() : nullptr, shifted ? shift.data<TestType>() : nullptr,
        added ? residual.data<TestType>() : nullptr, relu, output.data<TestType>(), rows, columns, main_stream());
    std::vector<double> expected = input.to_doubles();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const std::size_t c = i % static_cast<std::size_t>(columns);
      if (scaled) expected[i] *= scale.to_doubles()[c];
      if (shifted) expected[i] += shift.to_doubles()[c];
      if (added) expected[i] += residual.to_doubles()[i];
      if (relu) expected[i] = std::max(expected[i], 0.0);
    }
    require_close(output.to_doubles(), expected, Tolerance::rounding<TestType>(), "output");
  }
}

TEMPLATE_TEST_CASE("mask_negative keeps the gradient where the output is positive", "[elementwise]", float, double) {
  const Tensor output = Tensor::from_host(std::vector<TestType>{-1, 0, 2, 0.5}),
               gradient = Tensor::from_host(std::vector<TestType>{1, 2, 3, 4}),
               masked = Tensor::empty({4}, output.dtype());
  kernels::mask_negative(output.data<TestType>(), gradient.data<TestType>(), masked.data<TestType>(), 4, main_stream());
  CHECK(masked.to_doubles() == std::vector<double>{0, 0, 3, 4});
}

TEMPLATE_TEST_CASE("attention_forward computes all heads, absent ones left out", "[attention]", float, double) {
  const std::int64_t samples = 3;
  const Tensor temperature = Tensor::from_host(std::vector<double>{1.7});
  for (const kernels::HeadWidths& widths :
       {kernels::HeadWidths{5, 6, 9, 4}, kernels::HeadWidths{5, 0, 9, 4}, kernels::HeadWidths{3, 4, 0, 0}}) {
    const Tensor products = uniform_tensor<TestType>({samples, widths.all()}, 1, 4),
                 bias = uniform_tensor<TestType>({widths.all()}, 2);
    std::vector<Tensor> attentions;
    for (const std::int64_t width : {widths.channel, widths.filter, widths.spatial, widths.kernel})
      attentions.push_back(Tensor::empty({samples, width}, products.dtype()));
    kernels::attention_forward(widths, products.data<TestType>(), bias.data<TestType>(), temperature.data<double>(),
                               attentions[0].data<TestType>(), attentions[1].data<TestType>(),
                               attentions[2].data<TestType>(), attentions[3].data<TestType>(), samples, main_stream());
    const auto z = products.to_doubles(), b = bias.to_doubles();
    std::int64_t first = 0;
    for (std::size_t head = 0; head < attentions.size(); ++head) {
      const std::int64_t width = attentions[head].size(1);
      std::vector<double> expected;
      for (std::int64_t n = 0; n < samples; ++n) {
        double sum = 0;
        for (std::int64_t j = 0; j < width; ++j) {
          const auto column = static_cast<std::size_t>(first + j);
          const double logit = (z[static_cast<std::size_t>(n * widths.all()) + column] + b[column]) / 1.7;
          expected.push_back(head == 3 ? std::exp(logit) : 1 / (1 + std::exp(-logit)));
          sum += expected.back();
        }
        if (head == 3)
          for (std::size_t j = expected.size() - static_cast<std::size_t>(width); j < expected.size(); ++j)
            expected[j] /= sum;
      }
      require_close(attentions[head].to_doubles(), expected, Tolerance::rounding<TestType>(), "attention");
      first += width;
    }
  }
}

}  // namespace
}  // namespace omniconv
