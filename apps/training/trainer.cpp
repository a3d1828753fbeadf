#include "apps/training/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "apps/training/batch_memory.h"
#include "apps/training/parameter_groups.h"
#include "apps/training/signals.h"
#include "apps/training/summary.h"
#include "apps/training/text.h"
#include "data/hold_out.h"
#include "engine/allocator.h"
#include "kernels/elementwise.h"
#include "kernels/training_step.h"
#include "models/checkpoint.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "train";

/// sum [1] += part [1].
void add_to(const Tensor& sum, const Tensor& part) {
  dispatch(where, sum.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::add(part.data<T>(), sum.data<T>(), sum.count(), main_stream());
  });
}

std::optional<Dataset> held_out(const Recipe& recipe, ImageData& data, Residence residence) {
  if (recipe.validation == 0) return std::nullopt;
  const auto classes = static_cast<std::int64_t>(data.class_names.size());
  return Dataset(hold_out(data.train, recipe.validation, recipe.stratified, classes), residence);
}

std::int64_t largest(const std::vector<BatchRange>& ranges) {
  std::int64_t size = 0;
  for (const BatchRange& range : ranges) size = std::max(size, range.size());
  return size;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Tensor add_gradients(const Model& model, const Sgd& sgd, const Batch& batch, ops::LossOptions options,
                     kernels::ClassificationTotals* totals) {
  Tape tape;
  options.other_labels = batch.other_labels;
  options.own_share = batch.own_share;
  const Variable logits = model.net.forward(model.pass(tape, true), Variable(batch.images));
  const Variable loss = ops::cross_entropy(tape, logits, batch.labels, totals, options);
  tape.backward(loss, sgd.loss_gradient());
  return loss.value();
}

Tensor train_on_batch(const Model& model, const Sgd& sgd, const Batch& batch, kernels::ClassificationTotals* totals) {
  model.store.begin_gradients();
  const Tensor loss = add_gradients(model, sgd, batch, {}, totals);
  model.store.finish_gradients();
  sgd.step();
  return loss;
}

Trainer::Trainer(const Recipe& recipe, ImageData data, std::optional<Residence> images, const SafetensorsFile* state,
                 const std::string& source)
    : recipe_(recipe),
      data_fingerprint_(fingerprint(data)),
      residence_(images ? *images : residence_now(data.train.images.size() + data.test.images.size())),
      validation_(held_out(recipe, data, residence_)),
      train_(std::move(data.train), residence_),
      test_(std::move(data.test), residence_),
      ranges_(batch_ranges(train_.count(), recipe.batch_size, true)),
      feed_(train_, largest(ranges_)),
      model_(model_of(recipe, state, source)),
      sgd_(model_.store, {recipe.momentum, recipe.weight_decay, recipe.nesterov}),
      order_(Tensor::empty({train_.count()}, DType::i32)),
      table_(Tensor::empty({steps_per_epoch() * static_cast<std::int64_t>(sizeof(kernels::StepValues))}, DType::u8)),
      position_(Tensor::zeros({1}, DType::i64)),
      epoch_(Tensor::zeros({1}, DType::i64)),
      mix_(recipe.mixing.enabled() ? Tensor::empty({5}, DType::f64) : Tensor()),
      images_(Tensor::empty({largest(ranges_)}, DType::i32)),
      loss_(Tensor::zeros({1}, model_.store.dtype())),
      losses_(Tensor::zeros({steps_per_epoch()}, model_.store.dtype())) {
  if (recipe.clip_norm > 0) sgd_.clip_gradients(recipe.clip_norm);
  if (!recipe.no_decay.empty() || !recipe.stages.empty())
    sgd_.use_groups(group_settings(recipe.weight_decay, TrainedPart::all),
                    parameter_groups(model_.store, recipe.no_decay));
  if (recipe.temperature_guard) {
    guard_ = Tensor::zeros({5}, DType::f64);
    model_.set_temperature(recipe.temperature.start);
  }
  if (recipe.ema > 0) average_.emplace(model_.store, recipe.ema);
  const bool norm_over_batch = recipe.model.dynamic() && recipe.model.attention_norm == AttentionNorm::batch;
  expect(train_.count() >= 2 || !norm_over_batch, where,
         "expected at least 2 training images for the attention's batch norm, got 1: take more data or "
         "--attention-norm layer");
  if (state) restore(*state, source);
}

void Trainer::run(const RunFolder& folder, std::int64_t last_step, bool log_steps, Console& console,
                  std::vector<EpochMetrics>& history) {
  std::optional<StepLog> log;
  if (log_steps) log.emplace(folder, step_);
  while (step_ < last_step && StopSignals::received() == 0) {
    train_epoch(last_step, log ? &*log : nullptr, console);
    if (StopSignals::received() != 0) console.print("Stopping: evaluating and saving (a second signal stops at once).");
    finish_writing();
    take(snapshot_);
    // What was trained at the temperature of the last step is evaluated at it, too.
    const double next_temperature = model_.temperature.to_doubles()[0];
    model_.set_temperature(temperature_);
    if (average_) average_->exchange();
    history.push_back(evaluate_epoch(console));
    BestFile best = choose_best(folder, history.back().chosen_by());
    if (validation_ && step_ == total_steps()) test_best(folder, history.back(), console);
    snapshot_.rest = rest_of_state();
    snapshot_.model_metadata = model_metadata(model_.config, temperature_);
    if (stage_ != nullptr) snapshot_.model_metadata["stage"] = stage_->name;
    writing_ = std::async(std::launch::async, [this, folder, best = std::move(best), history] {
      write_files(folder, best, history);
    });
    if (observer_ != nullptr) observer_->on_epoch(history.back(), model_, validation_ ? *validation_ : test_);
    if (average_) average_->exchange();
    model_.set_temperature(next_temperature);
    console.print(table_line(history.back(), model_.config.dynamic()));
    if (step_ % steps_per_epoch() != 0) break;
  }
  finish_writing();
}

/// By another thread, from snapshot_. resume.safetensors alone decides where a run stands: until it is there, the run
/// stands where it stood before. It comes behind the files that it must not be without.
void Trainer::write_files(const RunFolder& folder, const BestFile& best,
                          const std::vector<EpochMetrics>& history) const {
  using Tensors = std::map<std::string, HostTensor>;
  Tensors weights = model_.store.state(snapshot_.weights);
  const bool averaged = snapshot_.averages.has_value();
  const SafetensorsFile evaluated{averaged ? model_.store.state(*snapshot_.averages) : weights,
                                  snapshot_.model_metadata};
  if (best.restored) folder.write(RunFolder::best_name, *best.restored);
  if (best.is_current && !best.within_epoch) folder.write(RunFolder::best_name, evaluated);
  folder.write(RunFolder::last_name, evaluated);
  folder.write_metrics(history);
  folder.write(RunFolder::resume_name,
               resume_file(snapshot_, std::move(weights), averaged ? evaluated.tensors : Tensors()));
  // The state knows what a stop within an epoch displaces: without it, the displaced one would be lost.
  if (best.is_current && best.within_epoch) folder.write(RunFolder::best_name, evaluated);
}

/// @throws Error for what could not be written.
void Trainer::finish_writing() {
  if (writing_.valid()) writing_.get();
}

void Trainer::guard_temperature(const Tensor& loss) {
  static_assert(sizeof(kernels::GuardState) == 5 * sizeof(double));
  dispatch(where, loss.dtype(), [&](auto zero) {
    kernels::guard_temperature(loss.data<decltype(zero)>(), path_of(recipe_.temperature, steps_per_epoch()),
                               reinterpret_cast<kernels::GuardState*>(guard_.data<double>()),
                               model_.temperature.data<double>(), main_stream());
  });
}

void Trainer::place_device(std::int64_t finished_steps) {
  const std::int64_t steps = steps_per_epoch(), epoch = finished_steps / steps, position = finished_steps % steps;
  const auto seed = static_cast<std::uint64_t>(recipe_.seed);
  std::vector<kernels::StepValues> rows;
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int64_t before = epoch * steps + i;
    rows.push_back({.learning_rate = learning_rate_at(recipe_, before, steps),
                    .temperature = temperature_at(recipe_, before, steps),
                    .average_decay = average_ ? average_->decay_at(before + 1) : 0,
                    .epoch = epoch,
                    .pass = before * recipe_.accumulate,
                    .first = ranges_[static_cast<std::size_t>(i)].begin,
                    .mix = mix_.defined() ? draw_mix(recipe_.mixing, train_.extent(), seed, before) : kernels::Mix{}});
  }
  table_.copy_from_host(rows.data());
  const std::vector<std::int32_t> order =
      epoch_order(train_.count(), seed, static_cast<std::uint64_t>(epoch), recipe_.shuffle);
  order_.copy_from_host(order.data());
  position_.copy_from_host(&position);
  feed_.start(order, ranges_, position);
}

void Trainer::for_each_part(std::int64_t samples, const std::function<void(const Batch&)>& body) {
  const kernels::StepTargets targets{.learning_rate = sgd_.learning_rate().data<double>(),
                                     .temperature = guard_.defined() ? nullptr : model_.temperature.data<double>(),
                                     .average_decay = average_ ? average_->step_decay().data<double>() : nullptr,
                                     .epoch = epoch_.data<std::int64_t>(),
                                     .pass = model_.step.data<std::int64_t>(),
                                     .mix = reinterpret_cast<kernels::Mix*>(mix_.data_or_null<double>()),
                                     .images = images_.data<std::int32_t>()};
  kernels::begin_step(reinterpret_cast<const kernels::StepValues*>(table_.raw()), position_.data<std::int64_t>(),
                      order_.data<std::int32_t>(), samples, targets, main_stream());
  kernels::Variation variation;
  variation.crop = recipe_.augment;
  variation.flip = recipe_.augment ? recipe_.flip : kernels::Flip::never;
  variation.cutout = recipe_.cutout;
  variation.seed = static_cast<std::uint64_t>(recipe_.seed);
  variation.epoch = epoch_.data<std::int64_t>();

  // The batch at the end may be too small for so many parts: a batch norm needs two images.
  const std::int64_t part_size = std::max<std::int64_t>(2, (samples + recipe_.accumulate - 1) / recipe_.accumulate);
  for (const BatchRange& part : batch_ranges(samples, part_size, true)) {
    // Every forward pass drops values of its own.
    if (part.begin > 0) kernels::advance(model_.step.data<std::int64_t>(), main_stream());
    body(train_.gather(images_.view(part.begin, {part.size()}), recipe_.precision, variation, mix_,
                       feed_.images(part.begin, part.size())));
  }
}

void Trainer::queue_step(std::int64_t samples) {
  const ops::LossOptions options{.smoothing = recipe_.label_smoothing, .mean_over = samples};
  loss_.set_zero();
  model_.store.begin_gradients();
  for_each_part(samples,
                [&](const Batch& part) { add_to(loss_, add_gradients(model_, sgd_, part, options, totals_.data())); });
  model_.store.finish_gradients();
  sgd_.halt_unless_finite(loss_);
  sgd_.step();
  if (guard_.defined()) guard_temperature(loss_);
  if (average_) average_->update();
  dispatch(where, loss_.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::finish_step(loss_.data<T>(), losses_.data<T>(), position_.data<std::int64_t>(), main_stream());
  });
}

void Trainer::train_step() {
  if (const Stage* const stage = stage_of(recipe_, step_, steps_per_epoch()); stage != stage_) {
    stage_ = stage;
    sgd_.set_groups(group_settings(recipe_.weight_decay, stage->train));
  }
  const std::int64_t samples = ranges_[static_cast<std::size_t>(step_ % steps_per_epoch())].size();
  feed_.next();
  within_memory(recipe_.batch_size, [&] { graphs_.run(samples, [&] { queue_step(samples); }); });
  feed_.prefetch();
  ++step_;
}

void Trainer::train_epoch(std::int64_t last_step, StepLog* log, Console& console) {
  const std::int64_t epoch = step_ / steps_per_epoch();
  place_device(step_);
  if (step_ % steps_per_epoch() == 0) totals_.write({});
  told_totals_ = totals_.read();
  speed_.start();

  const std::int64_t end = std::min(last_step, (epoch + 1) * steps_per_epoch());
  // One step at least, even if a signal has come by now: an epoch's metrics are about something.
  do {
    const std::int64_t batch = ranges_[static_cast<std::size_t>(step_ % steps_per_epoch())].size();
    train_step();
    speed_.count(batch);
    if (console.due()) look(log, console, last_step);
  } while (step_ < end && StopSignals::received() == 0);
  if (!graphs_.refusal().empty() && !std::exchange(told_refusal_, true))
    console.print("Steps are queued kernel by kernel, not as CUDA graphs: " + graphs_.refusal());
  look(log, console, last_step);
  temperature_ = last_temperature();
  epoch_speed_ = speed_.images_per_second();
}

/// Of the last step; the guard keeps it on the device.
double Trainer::last_temperature() const {
  if (guard_.defined()) return guard_.to_doubles()[4];
  return temperature_at(recipe_, std::max<std::int64_t>(step_, 1) - 1, steps_per_epoch());
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
  if (seen_steps_ != step_)
    fail(where, "expected a finite loss, got ", bad, " at step ", seen_steps_ + 1, ": ", fault_of(seen_steps_),
         "; try a lower --lr than ", recipe_.lr, " or --clip-norm; the run's files are those of the epoch before");

  const kernels::ClassificationTotals totals = totals_.read();
  if (observer_ != nullptr) tell_observer(losses, totals);
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
                      .seconds_left = (speed > 0 ? images_left / speed : 0) + evaluations_left * evaluation_seconds_,
                      .stage = stage_name()});
}

/// `losses` are those of the steps since it was told last.
void Trainer::tell_observer(const std::vector<double>& losses, const kernels::ClassificationTotals& totals) {
  StepMetrics metrics;
  metrics.step = step_;
  for (const double loss : losses) metrics.loss += loss / static_cast<double>(losses.size());
  metrics.accuracy = (totals.correct - told_totals_.correct) / (totals.count - told_totals_.count);
  metrics.lr = learning_rate_at(recipe_, step_ - 1, steps_per_epoch());
  metrics.temperature = last_temperature();
  metrics.images_per_second = speed_.images_per_second();
  observer_->on_steps(metrics);
  told_totals_ = totals;
}

std::string Trainer::fault_of(std::int64_t finished_steps) {
  const auto is_finite = [](double value) { return std::isfinite(value); };
  for (const ParameterStore::Entry& entry : model_.store.entries()) {
    const std::vector<double> values = entry.variable.value().to_doubles();
    if (entry.trained && !std::all_of(values.begin(), values.end(), is_finite))
      return concat("values of ", entry.spec.name, " were not finite before it");
  }
  // Since then no step has changed the weights, so the same batch leads to the same values again.
  std::string layer;
  place_device(finished_steps);
  feed_.next();
  for_each_part(ranges_[static_cast<std::size_t>(finished_steps % steps_per_epoch())].size(), [&](const Batch& part) {
    Tape tape;
    const Variable logits = model_.net.forward(model_.pass(tape, true), Variable(part.images));
    if (layer.empty()) layer = tape.first_not_finite();
  });
  return concat(layer.empty() ? "the loss itself" : layer, " made the first value that is not finite");
}

std::string Trainer::stage_name() const {
  const Stage* const stage = stage_of(recipe_, step_ - 1, steps_per_epoch());
  return stage == nullptr ? "" : stage->name;
}

bool Trainer::reads_test() const {
  if (!validation_ || step_ == total_steps()) return true;
  const std::int64_t steps = steps_per_epoch();
  return recipe_.test_every > 0 && step_ % steps == 0 && step_ / steps % recipe_.test_every == 0;
}

Evaluation Trainer::evaluate_on(const Dataset& dataset, const char* name, Console& console) {
  const auto show = [&](std::int64_t done) {
    if (console.due())
      console.show(text("evaluating: %s of %s images", grouped(done).c_str(), grouped(dataset.count()).c_str()));
  };
  const Evaluation result = within_memory(recipe_.batch_size, [&] {
    return evaluate(model_, dataset, evaluation_batch_size, {}, show, {View{}}, graphs_.memory());
  });
  expect(std::isfinite(result.loss), where, "expected a finite ", name, " loss, got ", result.loss, " after step ",
         step_, ": try a lower --lr than ", recipe_.lr, "; the run's files are those of the epoch before");
  return result;
}

/// The test set's figures for best.safetensors, which was chosen without it.
void Trainer::test_best(const RunFolder& folder, EpochMetrics& metrics, Console& console) {
  if (best_->step == step_) {
    metrics.best_test_loss = metrics.test_loss;
    metrics.best_test_accuracy = metrics.test_accuracy;
    return;
  }
  console.show("evaluating the best epoch on the test images");
  const LoadedModel best = load_model(folder.file(RunFolder::best_name), recipe_.precision);
  const Evaluation test = evaluate(*best.model, test_, evaluation_batch_size, {}, {}, {View{}}, graphs_.memory());
  metrics.best_test_loss = test.loss;
  metrics.best_test_accuracy = test.accuracy;
}

EpochMetrics Trainer::evaluate_epoch(Console& console) {
  const auto start = std::chrono::steady_clock::now();
  EpochMetrics metrics;
  if (validation_) {
    const Evaluation held_out = evaluate_on(*validation_, "validation", console);
    metrics.val_loss = held_out.loss;
    metrics.val_accuracy = held_out.accuracy;
  }
  if (reads_test()) {
    const Evaluation test = evaluate_on(test_, "test", console);
    metrics.test_loss = test.loss;
    metrics.test_accuracy = test.accuracy;
  }
  evaluation_seconds_ = seconds_since(start);

  const kernels::ClassificationTotals train = totals_.read();
  const std::int64_t epoch = (step_ - 1) / steps_per_epoch();
  metrics.epoch = epoch + 1;
  metrics.step = step_;
  metrics.stage = stage_name();
  metrics.lr = learning_rate_at(recipe_, step_ - 1, steps_per_epoch());
  metrics.temperature = temperature_;
  metrics.train_loss = train.loss_sum / train.count;
  metrics.train_accuracy = train.correct / train.count;
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
Trainer::BestFile Trainer::choose_best(const RunFolder& folder, double accuracy) {
  const bool whole_epoch = step_ % steps_per_epoch() == 0;
  if (!best_ || accuracy > best_->accuracy) {
    if (whole_epoch) {
      best_ = {accuracy, step_};
      displaced_best_.reset();
    } else if (best_ && !displaced_best_) {
      displaced_best_ = read_safetensors(folder.file(RunFolder::best_name));
    }
    return {.is_current = true, .within_epoch = !whole_epoch, .restored = {}};
  }
  return {.restored = std::exchange(displaced_best_, std::nullopt)};
}

}  // namespace omniconv
