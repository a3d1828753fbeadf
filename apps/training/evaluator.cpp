#include "apps/training/evaluator.h"

#include <algorithm>
#include <optional>

#include "apps/training/feed.h"
#include "apps/training/require.h"
#include "apps/training/totals.h"
#include "data/batches.h"
#include "engine/device.h"
#include "engine/files.h"
#include "engine/step_graph.h"
#include "kernels/averages.h"
#include "models/inference.h"

namespace omniconv {
namespace {

/// average + output / parts; an undefined average is 0.
Tensor with_part(Tensor average, const Tensor& output, std::size_t parts) {
  if (!average.defined()) average = Tensor::zeros(output.shape(), output.dtype());
  dispatch("evaluate", output.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::add_scaled(1 / static_cast<double>(parts), output.data<T>(), average.data<T>(), output.count(),
                        main_stream());
  });
  return average;
}

}  // namespace

std::vector<View> parse_views(std::string_view text) {
  const bool shifts = text == "shift" || text == "flip,shift";
  const bool flips = text == "flip" || text == "flip,shift";
  require(shifts || flips || text == "none", "--tta none, flip, shift or flip,shift, got ", in_quotes(text));
  std::vector<View> views = {View{}};
  if (shifts) views.insert(views.end(), {{-1, 0}, {1, 0}, {0, -1}, {0, 1}});
  if (flips)
    for (std::size_t i = 0, count = views.size(); i < count; ++i)
      views.push_back({views[i].down, views[i].right, true});
  return views;
}

Evaluation evaluate(const Model& model, const Dataset& dataset, std::int64_t batch_size, const Tensor& logits,
                    const std::function<void(std::int64_t)>& on_batch, const std::vector<View>& views,
                    const std::shared_ptr<MemoryPool>& memory) {
  const std::int64_t count = dataset.count();
  const std::int64_t classes = model.config.classes;
  const std::vector<std::int32_t> host_order = epoch_order(count, 0, 0, false);
  const std::vector<BatchRange> ranges = batch_ranges(count, batch_size, false);
  const Tensor order = Tensor::from_host(host_order);
  const DeviceTotals totals;
  // Inference without a tape computes in one type; a net in 16 bits is evaluated as it is trained.
  std::optional<InferenceNet> net;
  if (model.store.precision() == model.store.dtype()) net.emplace(model, dataset.extent(), dataset.extent());
  const auto forward = [&](const Tensor& images) {
    if (net) return net->forward(images);
    Tape tape(false);
    return model.net.forward(model.pass(tape, false), Variable(images)).value();
  };
  // Of a batch: always in the same places, so that it can be repeated.
  const std::int64_t most = std::min(count, batch_size);
  const Tensor images = Tensor::empty({most}, DType::i32),
               results = Tensor::empty({most, classes}, model.store.dtype());
  Feed feed(dataset, most);
  feed.start(host_order, ranges, 0);
  const auto evaluate_batch = [&](const Tensor& indices, const Tensor& result) {
    Tensor average, labels;
    for (const View& view : views) {
      const Batch batch = dataset.gather(indices, model.store.precision(),
                                         {.down = view.down, .right = view.right, .mirrored = view.mirrored}, {},
                                         feed.images(0, indices.count()));
      const Tensor output = forward(batch.images);
      average = views.size() == 1 ? output : with_part(average, output, views.size());
      labels = batch.labels;
    }
    Tape tape(false);
    ops::cross_entropy(tape, Variable(average), labels, totals.data());
    result.copy_from(average);
  };
  StepGraphs graphs(memory ? memory : std::make_shared<MemoryPool>());
  for (const BatchRange& range : ranges) {
    const std::int64_t size = range.size();
    const Tensor indices = images.view(0, {size}), result = results.view(0, {size, classes});
    indices.copy_from(order.view(range.begin, {size}));
    feed.next();
    graphs.run(size, [&] { evaluate_batch(indices, result); });
    feed.prefetch();
    if (logits.defined()) logits.view(range.begin * classes, {size, classes}).copy_from(result);
    if (on_batch) on_batch(range.end);
  }
  const kernels::ClassificationTotals sums = totals.read();
  return {sums.loss_sum / sums.count, sums.correct / sums.count, count};
}

}  // namespace omniconv
