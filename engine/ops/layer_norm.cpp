#include "kernels/layer_norm.h"

#include "engine/device.h"
#include "engine/ops/functions.h"

namespace omniconv::ops {

Variable layer_norm(Tape& tape, double epsilon, bool relu, const Variable& input, const Variable& gamma,
                    const Variable& beta) {
  constexpr const char* name = "layer_norm";
  expect(input.value().rank() == 2, name, "expected input [N, A], got shape ", input.shape());
  const Shape parameters{input.value().size(1)};
  expect(gamma.shape() == parameters && beta.shape() == parameters, name, "expected gamma and beta of shape ",
         parameters, ", got ", gamma.shape(), " and ", beta.shape());
  const kernels::LayerNormShape shape{input.value().size(0), input.value().size(1), epsilon, relu};
  return dispatch(name, input.value().dtype(), [&](auto zero) {
    using T = decltype(zero);
    const DType dtype = input.value().dtype();
    const Tensor mean = Tensor::empty({shape.rows}, dtype), rstd = Tensor::empty({shape.rows}, dtype);
    Tensor output = Tensor::empty(input.shape(), dtype);
    kernels::layer_norm_forward<T>(shape, input.value().data<T>(), gamma.value().data<T>(), beta.value().data<T>(),
                                   mean.data<T>(), rstd.data<T>(), output.data<T>(), main_stream());
    if (!tape.needs_backward({&input, &gamma, &beta})) return Variable(output);
    return tape.record(name, output, [=](const Tensor& d_output) {
      const Gradient d_input = input.gradient(), d_gamma = gamma.gradient(), d_beta = beta.gradient();
      const kernels::LayerNormBackward<T> arguments{.input = input.value().data<T>(),
                                                    .output = output.data<T>(),
                                                    .d_output = d_output.data<T>(),
                                                    .mean = mean.data<T>(),
                                                    .rstd = rstd.data<T>(),
                                                    .gamma = gamma.value().data<T>(),
                                                    .d_input = d_input.tensor.template data_or_null<T>(),
                                                    .accumulate_input = d_input.accumulate(),
                                                    .d_gamma = d_gamma.tensor.template data_or_null<T>(),
                                                    .accumulate_gamma = d_gamma.accumulate(),
                                                    .d_beta = d_beta.tensor.template data_or_null<T>(),
                                                    .accumulate_beta = d_beta.accumulate()};
      kernels::layer_norm_backward(shape, arguments, main_stream());
    });
  });
}

}  // namespace omniconv::ops
