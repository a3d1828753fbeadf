#include "engine/device.h"
#include "engine/ops/functions.h"
#include "kernels/gemm.h"

namespace omniconv::ops {

Variable linear(Tape& tape, const Variable& input, const Variable& weight, const Variable& bias) {
  constexpr const char* name = "linear";
  expect(input.value().rank() == 2 && weight.value().rank() == 2 && input.value().size(1) == weight.value().size(1),
         name, "expected input [N, I] and weight [O, I], got shapes ", input.shape(), " and ", weight.shape());
  expect(!bias.defined() || bias.shape() == Shape{weight.value().size(0)}, name, "expected a bias of ",
         weight.value().size(0), " elements");
  const std::int64_t samples = input.value().size(0), in = weight.value().size(1), out = weight.value().size(0);
  return dispatch(name, input.value().dtype(), [&](auto zero) {
    using T = decltype(zero);
    Tensor output = Tensor::empty({samples, out}, input.value().dtype());
    kernels::gemm<T>({.rows = samples, .columns = out, .inner = in, .transpose_b = true}, input.value().data<T>(),
                     weight.value().data<T>(), output.data<T>(), false, main_stream());
    if (bias.defined())
      kernels::add_bias(output.data<T>(), bias.value().data<T>(), samples, out, main_stream());
    if (!tape.needs_backward({&input, &weight, &bias})) return Variable(output);
    return tape.record(name, output, [=](const Tensor& d_output) {
      if (const Gradient d_bias = bias.gradient(); d_bias.wanted())
        kernels::column_sums(d_output.data<T>(), d_bias.tensor.template data<T>(), samples, out, d_bias.accumulate(),
                             main_stream());
      if (const Gradient d_weight = weight.gradient(); d_weight.wanted())
        kernels::gemm<T>({.rows = out, .columns = in, .inner = samples, .transpose_a = true}, d_output.data<T>(),
                         input.value().data<T>(), d_weight.tensor.template data<T>(), d_weight.accumulate(),
                         main_stream());
      if (const Gradient d_input = input.gradient(); d_input.wanted())
        kernels::gemm<T>({.rows = samples, .columns = in, .inner = out}, d_output.data<T>(), weight.value().data<T>(),
                         d_input.tensor.template data<T>(), d_input.accumulate(), main_stream());
    });
  });
}

}  // namespace omniconv::ops
