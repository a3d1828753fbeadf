#include "apps/training/evaluator.h"

#include <optional>

#include "apps/training/totals.h"
#include "data/batches.h"
#include "models/inference.h"

namespace omniconv {

Evaluation evaluate(const Model& model, const Dataset& dataset, std::int64_t batch_size, const Tensor& logits,
                    const std::function<void(std::int64_t)>& on_batch) {
  const std::int64_t count = dataset.count();
  const std::int64_t classes = model.config.classes;
  const Tensor order = Tensor::from_host(epoch_order(count, 0, 0, false));
  const DeviceTotals totals;
  // Inference without a tape computes in one type; a net in 16 bits is evaluated as it is trained.
  std::optional<InferenceNet> net;
  if (model.store.precision() == model.store.dtype()) net.emplace(model);
  const auto forward = [&](const Tensor& images) {
    if (net) return net->forward(images);
    Tape tape(false);
    return model.net.forward(model.pass(tape, false), Variable(images)).value();
  };
  for (const BatchRange& range : batch_ranges(count, batch_size, false)) {
    const Batch batch = dataset.gather(order.view(range.begin, {range.size()}), model.store.precision());
    const Tensor output = forward(batch.images);
    Tape tape(false);
    ops::cross_entropy(tape, Variable(output), batch.labels, totals.data());
    if (logits.defined()) logits.view(range.begin * classes, {range.size(), classes}).copy_from(output);
    if (on_batch) on_batch(range.end);
  }
  const kernels::ClassificationTotals sums = totals.read();
  return {sums.loss_sum / sums.count, sums.correct / sums.count, count};
}

}  // namespace omniconv
