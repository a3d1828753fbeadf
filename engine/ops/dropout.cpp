#include "kernels/dropout.h"

#include "engine/device.h"
#include "engine/ops/functions.h"

namespace omniconv::ops {

Variable dropout(Tape& tape, double probability, std::uint64_t seed, const Tensor& step, const Variable& input) {
  constexpr const char* name = "dropout";
  expect(step.defined() && step.dtype() == DType::i64 && step.count() == 1, name,
         "expected the number of the training step as i64 [1] on the device, got ",
         step.defined() ? concat(name_of(step.dtype()), ' ', step.shape()) : "none");
  return dispatch(name, input.value().dtype(), [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t count = input.value().count();
    const auto apply = [=](const Tensor& source, const Tensor& target, bool accumulate) {
      kernels::dropout<T>({probability, seed, step.data<std::int64_t>()}, source.data<T>(), target.data<T>(), count,
                          accumulate, main_stream());
    };
    const Tensor output = Tensor::empty(input.shape(), input.value().dtype());
    apply(input.value(), output, false);
    if (!tape.needs_backward({&input})) return Variable(output);
    return tape.record(name, output, [=](const Tensor& d_output) {
      if (const Gradient d_input = input.gradient(); d_input.wanted())
        apply(d_output, d_input.tensor, d_input.accumulate());
    });
  });
}

}  // namespace omniconv::ops
