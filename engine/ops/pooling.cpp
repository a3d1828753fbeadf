#include "kernels/pooling.h"

#include "engine/device.h"
#include "engine/ops/functions.h"

namespace omniconv::ops {

Variable global_average_pool(Tape& tape, const Variable& input) {
  constexpr const char* name = "global_average_pool";
  expect(input.value().rank() == 4 && input.value().count() > 0, name, "expected input [N, H, W, C], got shape ",
         input.shape());
  const std::int64_t samples = input.value().size(0), channels = input.value().size(3);
  const std::int64_t pixels = input.value().size(1) * input.value().size(2);
  return dispatch_storage(name, input.value().dtype(), [&](auto zero) {
    using T = decltype(zero);
    using Value = compute_type_t<T>;
    Tensor output = Tensor::empty({samples, channels}, DTypeOf<Value>::value);
    kernels::global_average_pool_forward(input.value().data<T>(), output.data<Value>(), samples, pixels, channels,
                                         main_stream());
    if (!tape.needs_backward({&input})) return Variable(output);
    return tape.record(name, output, [=](const Tensor& d_output) {
      if (const Gradient d_input = input.gradient(); d_input.wanted())
        kernels::global_average_pool_backward(d_output.data<Value>(), d_input.tensor.template data<T>(), samples,
                                              pixels, channels, d_input.accumulate(), main_stream());
    });
  });
}

}  // namespace omniconv::ops
