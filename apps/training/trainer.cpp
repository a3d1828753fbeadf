#include "apps/training/trainer.h"

#include <cmath>

#include "apps/training/batch_memory.h"
#include "apps/training/checkpoint.h"
#include "apps/training/signals.h"
#include "apps/training/summary.h"
#include "apps/training/text.h"
#include "engine/allocator.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "train";

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Tensor train_on_batch(const Model& model, const Sgd& sgd, const Batch& batch, kernels::ClassificationTotals* totals) {
  Tape tape;
  model.store.begin_gradients();
  const Variable logits = model.net.forward(model.pass(tape, true), Variable(batch.images));
  const Variable loss = ops::cross_entropy(tape, logits, batch.labels, totals);
  tape.backward(loss, sgd.loss_gradient());
  model.store.finish_gradients();
  sgd.step();
  return loss.value();
}

Trainer::Trainer(const Recipe& recipe, const ImageData& data)
    : recipe_(recipe),
      data_fingerprint_(fingerprint(data)),
      train_(data.train),
      test_(data.test),
      ranges_(batch_ranges(data.train.count(), recipe.batch_size, true)),
      model_(recipe.model, static_cast<std::uint64_t>(recipe.seed), recipe.precision),
      sgd_(model_.store, {recipe.momentum, recipe.weight_decay, recipe.nesterov}),
      losses_(Tensor::zeros({steps_per_epoch()}, model_.store.dtype())) {
  const bool norm_over_batch = recipe.model.dynamic() && recipe.model.attention_norm == AttentionNorm::batch;
  expect(train_.count() >= 2 || !norm_over_batch, where,
         "expected at least 2 training images for the attention's batch norm, got 1: take more data or "
         "--attention-norm layer");
}

void Trainer::run(const RunFolder& folder, std::int64_t last_step, bool log_steps, Console& console,
                  std::vector<EpochMetrics>& history) {
  std::optional<StepLog> log;
  if (log_steps) log.emplace(folder, step_);
  while (step_ < last_step && StopSignals::received() == 0) {
    train_epoch(last_step, log ? &*log : nullptr, console);
    if (StopSignals::received() != 0) console.print("Stopping: evaluating and saving (a second signal stops at once).");
    history.push_back(evaluate_epoch(console));

    // resume.safetensors comes last: until it is there, the run stands where it stood before, and goes on from there.
    const SafetensorsFile current = model_file(model_, temperature_);
    keep_best(folder, current, history.back().test_accuracy);
    folder.write(RunFolder::last_name, current);
    folder.write_metrics(history);
    folder.write(RunFolder::resume_name, resume_file());
    console.print(table_line(history.back(), model_.config.dynamic()));
    if (step_ % steps_per_epoch() != 0) return;
  }
}

void Trainer::train_epoch(std::int64_t last_step, StepLog* log, Console& console) {
  const std::int64_t epoch = step_ / steps_per_epoch();
  const auto seed = static_cast<std::uint64_t>(recipe_.seed);
  const Augmentation augmentation{recipe_.augment, seed, static_cast<std::uint64_t>(epoch)};
  const Tensor order =
      Tensor::from_host(epoch_order(train_.count(), seed, static_cast<std::uint64_t>(epoch), recipe_.shuffle));
  if (step_ % steps_per_epoch() == 0) totals_.write({});
  sgd_.set_learning_rate(learning_rate_at(recipe_, epoch));
  speed_.start();

  const std::int64_t end = std::min(last_step, (epoch + 1) * steps_per_epoch());
  while (step_ < end && StopSignals::received() == 0) {
    const std::int64_t position = step_ % steps_per_epoch();
    const BatchRange& range = ranges_[static_cast<std::size_t>(position)];
    temperature_ = temperature_at(recipe_.temperature, step_, steps_per_epoch());
    model_.set_temperature(temperature_);
    model_.set_step(step_);
    const Tensor loss = within_memory(recipe_.batch_size, [&] {
      const Batch batch = train_.gather(order.view(range.begin, {range.size()}), recipe_.precision, augmentation);
      return train_on_batch(model_, sgd_, batch, totals_.data());
    });
    losses_.view(position, {1}).copy_from(loss);
    ++step_;
    speed_.count(range.size());
    if (console.due()) look(log, console, last_step);
  }
  look(log, console, last_step);
  epoch_speed_ = speed_.images_per_second();
}

/// Reads what the steps since the last look have left on the device.
void Trainer::look(StepLog* log, Console& console, std::int64_t last_step) {
  const std::int64_t steps = steps_per_epoch();
  if (seen_steps_ == step_) return;
  const std::int64_t first = seen_steps_ % steps;
  std::vector<double> losses = losses_.view(first, {step_ - seen_steps_}).to_doubles();
  std::size_t good = 0;
  while (good < losses.size() && std::isfinite(losses[good])) ++good;
  const double bad = good < losses.size() ? losses[good] : 0;
  losses.resize(good);
  if (log != nullptr) log->append(seen_steps_ + 1, losses, recipe_.precision);
  seen_steps_ += static_cast<std::int64_t>(good);
  expect(seen_steps_ == step_, where, "expected a finite loss, got ", bad, " at step ", seen_steps_ + 1,
         ": try a lower --lr than ", recipe_.lr, "; the run's files are those of the epoch before");

  const kernels::ClassificationTotals totals = totals_.read();
  const double speed = speed_.images_per_second();
  const double images_left =
      static_cast<double>(last_step - step_) / static_cast<double>(steps) * static_cast<double>(train_.count());
  const auto evaluations_left = static_cast<double>((last_step - 1) / steps - (step_ - 1) / steps + 1);
  console.show(Moment{.epoch = (step_ - 1) / steps + 1,
                      .epochs = recipe_.epochs,
                      .batch = (step_ - 1) % steps + 1,
                      .batches = steps,
                      .loss = totals.loss_sum / totals.count,
                      .accuracy = totals.correct / totals.count,
                      .images_per_second = speed,
                      .seconds_left = (speed > 0 ? images_left / speed : 0) + evaluations_left * evaluation_seconds_});
}

EpochMetrics Trainer::evaluate_epoch(Console& console) {
  const auto start = std::chrono::steady_clock::now();
  const Evaluation test = evaluate(model_, test_, evaluation_batch_size, {}, [&](std::int64_t done) {
    if (console.due())
      console.show(text("evaluating: %s of %s images", grouped(done).c_str(), grouped(test_.count()).c_str()));
  });
  evaluation_seconds_ = seconds_since(start);
  expect(std::isfinite(test.loss), where, "expected a finite test loss, got ", test.loss, " after step ", step_,
         ": try a lower --lr than ", recipe_.lr, "; the run's files are those of the epoch before");

  const kernels::ClassificationTotals train = totals_.read();
  const std::int64_t epoch = (step_ - 1) / steps_per_epoch();
  EpochMetrics metrics;
  metrics.epoch = epoch + 1;
  metrics.step = step_;
  metrics.lr = learning_rate_at(recipe_, epoch);
  metrics.temperature = temperature_;
  metrics.train_loss = train.loss_sum / train.count;
  metrics.train_accuracy = train.correct / train.count;
  metrics.test_loss = test.loss;
  metrics.test_accuracy = test.accuracy;
  metrics.images_per_second = epoch_speed_;
  if (const std::optional<LossScaler>& scaler = sgd_.loss_scaler()) {
    const LossScaler::State state = scaler->read();
    metrics.loss_scale = state.scale;
    metrics.skipped_steps = state.skipped_steps;
  }
  metrics.peak_bytes = static_cast<std::int64_t>(memory_statistics().peak_bytes);
  metrics.peak_rss_bytes = peak_resident_bytes();
  return metrics;
}

/// best.safetensors is the best that was ever evaluated, a stop within an epoch included. But a run that goes on must
/// choose as if it had not stopped: what such a stop displaces is kept in the run's state until the epoch ends.
void Trainer::keep_best(const RunFolder& folder, const SafetensorsFile& current, double accuracy) {
  const bool whole_epoch = step_ % steps_per_epoch() == 0;
  const bool better = !best_ || accuracy > best_->accuracy;
  if (better) {
    const std::string path = folder.file(RunFolder::best_name);
    if (whole_epoch) {
      best_ = {accuracy, step_};
      displaced_best_.reset();
    } else if (best_ && !displaced_best_) {
      displaced_best_ = read_safetensors(path);
    }
    write_safetensors(path, current);
  } else if (displaced_best_) {
    folder.write(RunFolder::best_name, *displaced_best_);
    displaced_best_.reset();
  }
}

}  // namespace omniconv
