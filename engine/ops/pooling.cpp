#include "kernels/pooling.h"

#include "engine/device.h"
#include "engine/ops/functions.h"

namespace omniconv::ops {

Variable global_average_pool(Tape& tape, const Variable& input) {
  constexpr const char* name = "global_average_pool";
  expect(input.value().rank() == 4 && input.value().count() > 0, name, "expected input [N, H, W, C], got shape ",
         input.shape());
  if (const Variable pool = input.pool(); pool.defined()) return pool;
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

Variable max_pool(Tape& tape, const kernels::MaxPoolParams& params, const Variable& input) {
  constexpr const char* name = "max_pool";
  const Tensor& image = input.value();
  expect(image.rank() == 4, name, "expected input [N, H, W, C], got shape ", input.shape());
  const kernels::MaxPoolShape shape{image.size(0), image.size(1), image.size(2), image.size(3), params};
  kernels::check(shape);
  return dispatch_storage(name, image.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const Shape extents{shape.samples, shape.out_height(), shape.out_width(), shape.channels};
    const bool keeps_taps = tape.needs_backward({&input});
    const Tensor output = Tensor::empty(extents, image.dtype());
    const Tensor taps = keeps_taps ? Tensor::empty(extents, DType::u8) : Tensor();
    kernels::max_pool_forward(shape, image.data<T>(), output.data<T>(), taps.data_or_null<std::uint8_t>(),
                              main_stream());
    if (!keeps_taps) return Variable(output);
    return tape.record(name, output, [=](const Tensor& d_output) {
      if (const Gradient d_input = input.gradient(); d_input.wanted())
        kernels::max_pool_backward(shape, d_output.data<T>(), taps.data<std::uint8_t>(),
                                   d_input.tensor.template data<T>(), d_input.accumulate(), main_stream());
    });
  });
}

}  // namespace omniconv::ops
