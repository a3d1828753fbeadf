#include "kernels/batch_norm.h"

#include "engine/device.h"
#include "engine/fusions.h"
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
  expect(!residual.defined() || residual.shape() == input.shape(), name, "expected a residual of shape ", input.shape(),
         ", got ", residual.defined() ? residual.shape() : Shape{});
  expect(!mode.pool || input.value().rank() == 4, name, "expected input [N, H, W, C] to pool, got shape ",
         input.shape());
  const bool pools = mode.pool && fusion_enabled(Fusion::pool);
  const kernels::BatchNormShape shape{input.value().count() / channels, channels, mode.epsilon, mode.relu,
                                      input.value().rank() == 4 ? input.value().size(0) : 1};
  expect(!mode.batch_statistics || shape.rows >= 2, name,
         "expected at least 2 rows to take batch statistics from, got ", shape.rows);
  return dispatch_storage(name, input.value().dtype(), [&](auto zero) {
    using T = decltype(zero);
    using Value = compute_type_t<T>;
    constexpr DType dtype = DTypeOf<Value>::value;
    const Tensor mean = Tensor::empty(parameters, dtype);
    const Tensor rstd = Tensor::empty(parameters, dtype);
    const Tensor workspace = Tensor::empty({kernels::batch_norm_workspace<T>(shape)}, dtype);
    if (const Moments moments = input.take_moments(); mode.batch_statistics && moments.values.defined()) {
      kernels::batch_norm_combine<T>(shape, moments.parts, moments.values.data<Value>(), mean.data<Value>(),
                                     rstd.data<Value>(), running_mean.data<Value>(), running_var.data<Value>(),
                                     mode.batches_tracked.data_or_null<std::int64_t>(), mode.momentum, main_stream());
    } else if (mode.batch_statistics) {
      kernels::batch_norm_statistics(shape, input.value().data<T>(), mean.data<Value>(), rstd.data<Value>(),
                                     running_mean.data<Value>(), running_var.data<Value>(),
                                     mode.batches_tracked.data_or_null<std::int64_t>(), mode.momentum,
                                     workspace.data<Value>(), main_stream());
    } else {
      kernels::batch_norm_use_running(shape, running_mean.data<Value>(), running_var.data<Value>(), mean.data<Value>(),
                                      rstd.data<Value>(), main_stream());
    }
    Tensor output = Tensor::empty(input.shape(), input.value().dtype());
    const Tensor pool = pools ? Tensor::empty({shape.samples, channels}, dtype) : Tensor();
    const kernels::BatchNormApply<T> apply{.input = input.value().data<T>(),
                                           .residual = residual.defined() ? residual.value().data<T>() : nullptr,
                                           .mean = mean.data<Value>(),
                                           .rstd = rstd.data<Value>(),
                                           .gamma = gamma.value().data<Value>(),
                                           .beta = beta.value().data<Value>(),
                                           .output = output.data<T>(),
                                           .pool = pool.data_or_null<Value>(),
                                           .workspace = workspace.data<Value>()};
    kernels::batch_norm_apply(shape, apply, main_stream());
    const auto with_pool = [&](const Variable& result) {
      if (pools) result.attach_pool(pool);
      return result;
    };
    if (!tape.needs_backward({&input, &residual, &gamma, &beta})) return with_pool(Variable(output));
    const auto backward = [=, batch_statistics = mode.batch_statistics](const Arriving& arriving) {
      // Asked in the order in which the kernel writes: where both are one variable, the second adds to the first.
      const Gradient d_residual = residual.gradient(), d_input = input.gradient();
      const Gradient d_gamma = gamma.gradient(), d_beta = beta.gradient();
      const Tensor dots = input.dots_of(d_input, kernels::batch_norm_dot_parts<T>(shape));
      const Tensor workspace = Tensor::empty({kernels::batch_norm_workspace<T>(shape)}, dtype);
      kernels::BatchNormBackward<T> arguments{.input = input.value().data<T>(),
                                              .output = output.data<T>(),
                                              .d_output = arriving.d_output.data_or_null<T>(),
                                              .d_pool = arriving.d_pool.data_or_null<Value>(),
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
                                              .dots = dots.data_or_null<Value>(),
                                              .workspace = workspace.data<Value>()};
      kernels::batch_norm_backward(shape, arguments, main_stream());
    };
    return with_pool(tape.record(name, output, backward));
  });
}

}  // namespace omniconv::ops
