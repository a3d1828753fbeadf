#include "engine/conv/static_conv.h"
#include "engine/device.h"
#include "engine/ops/functions.h"

namespace omniconv::ops {

Variable conv2d(Tape& tape, const Conv2dParams& params, const Variable& input, const Variable& weight) {
  constexpr const char* name = "conv2d";
  expect(input.value().rank() == 4, name, "expected input [N, H, W, C], got shape ", input.shape());
  expect(weight.value().rank() == 4, name, "expected weight [O, R, S, I/g], got shape ", weight.shape());
  const Shape& x = input.shape();
  const Shape& w = weight.shape();
  expect(x[3] == w[3] * params.groups, name, "expected input with ", w[3] * params.groups, " channels, got shape ", x);
  expect(w[0] % params.groups == 0, name, "expected output channels divisible by ", params.groups, " groups, got ",
         w[0]);
  const ConvShape shape{x[0], x[1], x[2], x[3], w[0], w[1], w[2], params};
  expect(shape.out_height() > 0 && shape.out_width() > 0, name,
         "expected an input of at least the kernel's reach, got shape ", x, " for a ", w[1], "x", w[2], " kernel");
  const Tensor weights = weight.value_in(input.value().dtype(), name);
  return dispatch_storage(name, input.value().dtype(), [&](auto zero) {
    using T = decltype(zero);
    Tensor output = Tensor::empty({shape.samples, shape.out_height(), shape.out_width(), shape.out_channels},
                                  input.value().dtype());
    conv::conv2d_forward(shape, input.value().data<T>(), weights.data<T>(), output.data<T>(), main_stream());
    if (!tape.needs_backward({&input, &weight})) return Variable(output);
    return tape.record(name, output, [=](const Tensor& d_output) {
      if (const Gradient d_weight = weight.gradient(); d_weight.wanted())
        conv::conv2d_weight_gradient(shape, input.value().data<T>(), weights.data<T>(), d_output.data<T>(),
                                     d_weight.tensor.template data<compute_type_t<T>>(), d_weight.accumulate(),
                                     main_stream());
      if (const Gradient d_input = input.gradient(); d_input.wanted())
        conv::conv2d_data_gradient(shape, weights.data<T>(), d_output.data<T>(), d_input.tensor.template data<T>(),
                                   d_input.accumulate(), main_stream());
    });
  });
}

}  // namespace omniconv::ops
