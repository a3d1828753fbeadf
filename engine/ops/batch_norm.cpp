#include "kernels/batch_norm.h"

#include "engine/device.h"
#include "engine/ops/functions.h"

namespace omniconv::ops {

Variable batch_norm(Tape& tape, const BatchNormMode& mode, const Variable& input, const Variable& residual,
                    const Variable& gamma, const Variable& beta, const Tensor& running_mean,
                    const Tensor& running_var) {
  constexpr const char* name = "batch_norm";
  const std::int64_t channels = input.value().size(input.value().rank() - 1);
  const Shape parameters{channels};
  expect(gamma.shape() == parameters && beta.shape() == parameters && running_mean.shape() == parameters &&
             running_var.shape() == parameters,
         name, "expected parameters and running statistics of shape ", parameters, ", got gamma ", gamma.shape(),
         ", beta ", beta.shape());
  expect(!residual.defined() || residual.shape() == input.shape(), name, "expected a residual of shape ",
         input.shape(), ", got ", residual.defined() ? residual.shape() : Shape{});
  const kernels::BatchNormShape shape{input.value().count() / channels, channels, mode.epsilon, mode.relu};
  expect(!mode.batch_statistics || shape.rows >= 2, name,
         "expected at least 2 rows to take batch statistics from, got ", shape.rows);
  return dispatch_storage(name, input.value().dtype(), [&](auto zero) {
    using T = decltype(zero);
    using Value = compute_type_t<T>;
    constexpr DType dtype = DTypeOf<Value>::value;
    const Tensor mean = Tensor::empty(parameters, dtype);
    const Tensor rstd = Tensor::empty(parameters, dtype);
    if (mode.batch_statistics) {
      const Tensor workspace = Tensor::empty({kernels::batch_norm_workspace<T>(shape)}, dtype);
      kernels::batch_norm_statistics(shape, input.value().data<T>(), mean.data<Value>(), rstd.data<Value>(),
                                     running_mean.data<Value>(), running_var.data<Value>(),
                                     mode.batches_tracked.data_or_null<std::int64_t>(), mode.momentum,
                                     workspace.data<Value>(), main_stream());
    } else {
      kernels::batch_norm_use_running(shape, running_mean.data<Value>(), running_var.data<Value>(), mean.data<Value>(),
                                      rstd.data<Value>(), main_stream());
    }
    Tensor output = Tensor::empty(input.shape(), input.value().dtype());
    kernels::batch_norm_apply<T>(
        shape, input.value().data<T>(), residual.defined() ? residual.value().data<T>() : nullptr, mean.data<Value>(),
        rstd.data<Value>(), gamma.value().data<Value>(), beta.value().data<Value>(), output.data<T>(), main_stream());
    if (!tape.needs_backward({&input, &residual, &gamma, &beta})) return Variable(output);
    return tape.record(name, output, [=, batch_statistics = mode.batch_statistics](const Tensor& d_output) {
      const Gradient d_input = input.gradient(), d_residual = residual.gradient();
      const Gradient d_gamma = gamma.gradient(), d_beta = beta.gradient();
      const Tensor workspace = Tensor::empty({kernels::batch_norm_workspace<T>(shape)}, dtype);
      kernels::BatchNormBackward<T> arguments{.input = input.value().data<T>(),
                                              .output = output.data<T>(),
                                              .d_output = d_output.data<T>(),
                                              .mean = mean.data<Value>(),
                                              .rstd = rstd.data<Value>(),
                                              .gamma = gamma.value().data<Value>(),
                                              .batch_statistics = batch_statistics,
                                              .d_input = d_input.tensor.template data_or_null<T>(),
                                              .accumulate_input = d_input.accumulate(),
                                              .d_residual = d_residual.tensor.template data_or_null<T>(),
                                              .accumulate_residual = d_residual.accumulate(),
                                              .d_gamma = d_gamma.tensor.template data_or_null<Value>(),
                                              .accumulate_gamma = d_gamma.accumulate(),
                                              .d_beta = d_beta.tensor.template data_or_null<Value>(),
                                              .accumulate_beta = d_beta.accumulate(),
                                              .workspace = workspace.data<Value>()};
      kernels::batch_norm_backward(shape, arguments, main_stream());
    });
  });
}

}  // namespace omniconv::ops
