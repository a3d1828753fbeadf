#include "engine/device.h"
#include "engine/ops/functions.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"

namespace omniconv::ops {

namespace {

/// Adds `source` to the gradient of `variable`, or writes it there, if it is wanted.
template <class T>
void pass_on(const Variable& variable, const Tensor& source) {
  const Gradient gradient = variable.gradient();
  if (!gradient.wanted()) return;
  if (gradient.accumulate())
    kernels::add(source.data<T>(), gradient.tensor.template data<T>(), source.count(), main_stream());
  else
    gradient.tensor.copy_from(source);
}

}  // namespace

Variable add_bias(Tape& tape, const Variable& input, const Variable& bias, bool relu, const Variable& residual) {
  constexpr const char* name = "add_bias";
  expect(input.value().rank() >= 2 && input.value().count() > 0, name, "expected input [..., C], got shape ",
         input.shape());
  const std::int64_t channels = input.shape().back(), rows = input.value().count() / channels;
  expect(bias.shape() == Shape{channels}, name, "expected a bias of shape ", Shape{channels}, ", got ", bias.shape());
  expect(!residual.defined() || residual.shape() == input.shape(), name, "expected a residual of shape ", input.shape(),
         ", got ", residual.defined() ? residual.shape() : Shape{});
  return dispatch_storage(name, input.value().dtype(), [&](auto zero) {
    using T = decltype(zero);
    using Value = compute_type_t<T>;
    const Tensor output = Tensor::empty(input.shape(), input.value().dtype());
    kernels::apply_affine<T>(input.value().data<T>(), nullptr, bias.value().data<Value>(),
                             residual.defined() ? residual.value().data<T>() : nullptr, relu, output.data<T>(), rows,
                             channels, main_stream());
    if (!tape.needs_backward({&input, &bias, &residual})) return Variable(output);
    return tape.record(name, output, [=](const Tensor& d_output) {
      Tensor masked = d_output;
      if (relu) {
        masked = Tensor::empty(d_output.shape(), d_output.dtype());
        kernels::mask_negative(output.data<T>(), d_output.data<T>(), masked.data<T>(), masked.count(), main_stream());
      }
      if (const Gradient d_bias = bias.gradient(); d_bias.wanted())
        kernels::column_sums(masked.data<T>(), d_bias.tensor.template data<Value>(), rows, channels, d_bias.accumulate(),
                             main_stream());
      pass_on<T>(input, masked);
      pass_on<T>(residual, masked);
    });
  });
}

}  // namespace omniconv::ops
