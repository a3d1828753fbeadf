#include "kernels/cross_entropy.h"

#include "engine/device.h"
#include "engine/ops/functions.h"

namespace omniconv::ops {

Variable cross_entropy(Tape& tape, const Variable& logits, const Tensor& labels,
                       kernels::ClassificationTotals* totals) {
  constexpr const char* name = "cross_entropy";
  expect(logits.value().rank() == 2 && labels.shape() == Shape{logits.value().size(0)} &&
             labels.dtype() == DType::i32,
         name, "expected logits [N, C] and labels i32 [N], got shapes ", logits.shape(), " and ", labels.shape());
  const std::int64_t samples = logits.value().size(0), classes = logits.value().size(1);
  return dispatch(name, logits.value().dtype(), [&](auto zero) {
    using T = decltype(zero);
    Tensor loss = Tensor::empty({1}, logits.value().dtype());
    const Tensor sample_loss = Tensor::empty({samples}, logits.value().dtype());
    kernels::cross_entropy_forward(logits.value().data<T>(), labels.data<std::int32_t>(), loss.data<T>(),
                                   sample_loss.data<T>(), totals, samples, classes, main_stream());
    if (!tape.needs_backward({&logits})) return Variable(loss);
    return tape.record(name, loss, [=](const Tensor& d_loss) {
      if (const Gradient d_logits = logits.gradient(); d_logits.wanted())
        kernels::cross_entropy_backward(logits.value().data<T>(), labels.data<std::int32_t>(), d_loss.data<T>(),
                                        d_logits.tensor.template data<T>(), samples, classes, d_logits.accumulate(),
                                        main_stream());
    });
  });
}

}  // namespace omniconv::ops
