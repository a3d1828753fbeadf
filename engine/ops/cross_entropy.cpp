#include "kernels/cross_entropy.h"

#include <tuple>

#include "engine/device.h"
#include "engine/ops/functions.h"

namespace omniconv::ops {

Variable cross_entropy(Tape& tape, const Variable& logits, const Tensor& labels, kernels::ClassificationTotals* totals,
                       const LossOptions& options) {
  constexpr const char* name = "cross_entropy";
  expect(logits.value().rank() == 2 && labels.shape() == Shape{logits.value().size(0)} && labels.dtype() == DType::i32,
         name, "expected logits [N, C] and labels i32 [N], got shapes ", logits.shape(), " and ", labels.shape());
  const bool mixed = options.other_labels.defined();
  expect(!mixed || (options.other_labels.shape() == labels.shape() && options.other_labels.dtype() == DType::i32 &&
                    options.own_share.defined() && options.own_share.count() == 1),
         name, "expected other labels i32 [N] with their share [1], got shapes ", options.other_labels.shape(), " and ",
         options.own_share.shape());
  expect(options.smoothing >= 0 && options.smoothing < 1, name, "expected a smoothing in [0, 1), got ",
         options.smoothing);
  const std::int64_t samples = logits.value().size(0), classes = logits.value().size(1);
  return dispatch(name, logits.value().dtype(), [&](auto zero) {
    using T = decltype(zero);
    Tensor loss = Tensor::empty({1}, logits.value().dtype());
    const Tensor sample_loss = Tensor::empty({samples}, logits.value().dtype());
    const kernels::Targets targets{labels.data<std::int32_t>(), options.other_labels.data_or_null<std::int32_t>(),
                                   options.own_share.data_or_null<double>(), options.smoothing, options.mean_over};
    kernels::cross_entropy_forward(logits.value().data<T>(), targets, loss.data<T>(), sample_loss.data<T>(), totals,
                                   samples, classes, main_stream());
    if (!tape.needs_backward({&logits})) return Variable(loss);
    return tape.record(name, loss, [=, keep = std::tuple(labels, options)](const Tensor& d_loss) {
      if (const Gradient d_logits = logits.gradient(); d_logits.wanted())
        kernels::cross_entropy_backward(logits.value().data<T>(), targets, d_loss.data<T>(),
                                        d_logits.tensor.template data<T>(), samples, classes, d_logits.accumulate(),
                                        main_stream());
    });
  });
}

}  // namespace omniconv::ops
