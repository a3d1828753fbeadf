#include "apps/export/finetune.h"

#include <cmath>

#include "apps/training/totals.h"
#include "apps/training/trainer.h"
#include "data/batches.h"
#include "engine/optimizer.h"
#include "engine/schedule.h"

namespace omniconv {

void finetune(const Model& model, const Dataset& images, const FinetuneRecipe& recipe,
              const std::function<void(std::int64_t, double)>& on_epoch) {
  const Sgd sgd(model.store, {recipe.momentum, recipe.weight_decay, false});
  const auto ranges = batch_ranges(images.count(), recipe.batch_size, true);
  std::int64_t step = 0;
  for (std::int64_t epoch = 0; epoch < recipe.epochs; ++epoch) {
    const auto number = static_cast<std::uint64_t>(epoch);
    const Tensor device_epoch = Tensor::from_host(std::vector<std::int64_t>{epoch});
    const Tensor order = Tensor::from_host(epoch_order(images.count(), recipe.seed, number, true));
    sgd.set_learning_rate(cosine_learning_rate(recipe.lr, epoch, recipe.epochs));
    const DeviceTotals totals;
    for (const BatchRange& range : ranges) {
      const Batch batch = images.gather(order.view(range.begin, {range.size()}), model.store.precision(),
                                        {.crop = true,
                                         .flip = kernels::Flip::random,
                                         .seed = recipe.seed,
                                         .epoch = device_epoch.data<std::int64_t>()});
      model.set_step(step++);
      train_on_batch(model, sgd, batch, totals.data());
    }
    const kernels::ClassificationTotals sums = totals.read();
    const double loss = sums.loss_sum / sums.count;
    expect(std::isfinite(loss), "finetune", "expected a finite loss, got ", loss, " in epoch ", epoch + 1,
           ": try a lower --finetune-lr than ", recipe.lr);
    on_epoch(epoch + 1, loss);
  }
}

}  // namespace omniconv
