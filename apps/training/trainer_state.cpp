// A run's state as resume.safetensors holds it.
//
// Tensors: the model's under their names, the optimizer's velocity behind "optimizer.", with --ema the averages behind
// "ema.", the totals of the epoch in progress as "run.totals", in f16 the state of loss scaling as "run.loss_scale",
// that of the temperature's guard as "run.temperature_guard", and sometimes a displaced best model behind "best.". The
// rest is JSON in the metadata.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "apps/training/autotune.h"
#include "apps/training/json_text.h"
#include "apps/training/trainer.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "resume";
constexpr std::string_view optimizer_prefix = "optimizer.";
constexpr std::string_view average_prefix = "ema.";
constexpr std::string_view best_prefix = "best.";
constexpr const char* totals_name = "run.totals";
constexpr const char* loss_scale_name = "run.loss_scale";  // scale, good steps, skipped steps
constexpr const char* guard_name = "run.temperature_guard";

using Tensors = std::map<std::string, HostTensor>;

void add_with_prefix(Tensors& target, std::string_view prefix, Tensors source) {
  for (auto& [name, tensor] : source) target.emplace(concat(prefix, name), std::move(tensor));
}

/// The model's own.
Tensors weights_of(const Tensors& tensors) {
  Tensors weights;
  for (const auto& [name, tensor] : tensors)
    if (name != totals_name && name != loss_scale_name && name != guard_name && !name.starts_with(optimizer_prefix) &&
        !name.starts_with(average_prefix) && !name.starts_with(best_prefix))
      weights.emplace(name, tensor);
  return weights;
}

/// The tensors behind `prefix`, without it.
Tensors with_prefix(const Tensors& tensors, std::string_view prefix) {
  Tensors found;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(prefix)) found.emplace(name.substr(prefix.size()), tensor);
  return found;
}

nlohmann::json metadata_json(const SafetensorsFile& file, const char* key, const std::string& source) {
  const auto found = file.metadata.find(key);
  expect(found != file.metadata.end(), where, source, ": expected the state of a run, got a file without ", key,
         " in its metadata");
  const auto json = parse_json(found->second);
  expect(json.is_object(), where, source, ": expected a JSON object as ", key, " in the metadata, got other text");
  return json;
}

/// The three numbers of the tensor `name`.
std::array<double, 3> three_numbers(const Tensors& tensors, const char* name, const std::string& source) {
  const auto found = tensors.find(name);
  expect(found != tensors.end(), where, source, ": expected a tensor ", name, ", got none");
  const std::vector<double> values = to_doubles(found->second, name);
  expect(values.size() == 3, where, source, ": expected ", name, " [3], got shape ", found->second.shape);
  return {values[0], values[1], values[2]};
}

bool is_count(double value) {
  constexpr double most = 1LL << 53;  // exact in f64 up to here
  return value >= 0 && value <= most && value == std::floor(value);
}

kernels::ClassificationTotals totals_of(const Tensors& tensors, const std::string& source) {
  const auto [loss_sum, correct, count] = three_numbers(tensors, totals_name, source);
  // Mixed labels are right in part.
  expect(std::isfinite(loss_sum) && correct >= 0 && correct <= count && is_count(count), where, source, ": expected ",
         totals_name, " with a finite sum, hits and at least as many images, got ", loss_sum, ", ", correct, " and ",
         count);
  return {loss_sum, correct, count};
}

LossScaler::State loss_scale_of(const Tensors& tensors, const std::string& source) {
  const auto [scale, good, skipped] = three_numbers(tensors, loss_scale_name, source);
  expect(scale > 0 && scale <= std::numeric_limits<float>::max() && is_count(good) && is_count(skipped), where, source,
         ": expected ", loss_scale_name, " with a scale above 0 and two counts, got ", scale, ", ", good, " and ",
         skipped);
  return {static_cast<float>(scale), static_cast<std::int64_t>(good), static_cast<std::int64_t>(skipped)};
}

}  // namespace

void Trainer::take(Snapshot& snapshot) const {
  model_.store.take(snapshot.weights);
  snapshot.velocity.take(sgd_.velocity());
  if (!average_) return;
  average_->exchange();
  if (!snapshot.averages) snapshot.averages.emplace();
  model_.store.take(*snapshot.averages);
  average_->exchange();
}

SafetensorsFile Trainer::resume_file() const {
  Snapshot snapshot;
  take(snapshot);
  snapshot.rest = rest_of_state();
  return resume_file(snapshot, model_.store.state(snapshot.weights),
                     snapshot.averages ? model_.store.state(*snapshot.averages) : Tensors());
}

SafetensorsFile Trainer::resume_file(const Snapshot& snapshot, Tensors weights, Tensors averages) const {
  SafetensorsFile file = snapshot.rest;
  file.tensors.merge(weights);
  add_with_prefix(file.tensors, optimizer_prefix, model_.store.state_of(snapshot.velocity));
  add_with_prefix(file.tensors, average_prefix, std::move(averages));
  return file;
}

/// What is not as large as the weights, but for a displaced best model.
SafetensorsFile Trainer::rest_of_state() const {
  SafetensorsFile file;
  const kernels::ClassificationTotals totals = totals_.read();
  file.tensors.emplace(totals_name, make_host_tensor<double>({totals.loss_sum, totals.correct, totals.count}, {3}));
  if (const std::optional<LossScaler>& scaler = sgd_.loss_scaler()) {
    const LossScaler::State state = scaler->read();
    file.tensors.emplace(loss_scale_name, make_host_tensor<double>({state.scale, static_cast<double>(state.good_steps),
                                                                    static_cast<double>(state.skipped_steps)},
                                                                   {3}));
  }
  if (guard_.defined()) file.tensors.emplace(guard_name, make_host_tensor(guard_.to_doubles(), {5}));

  // Where the data lie is the machine's affair; what they are belongs to the run.
  Recipe recipe = recipe_;
  recipe.data.clear();
  recipe.init.clear();
  nlohmann::json state = {{"step", step_}, {"steps_per_epoch", steps_per_epoch()}, {"data", data_fingerprint_}};
  if (recipe_.autotune) state["plans"] = plans_to_json(conv::measured_plans());
  if (best_) state["best"] = {{"accuracy", best_->accuracy}, {"step", best_->step}};
  if (displaced_best_) {
    add_with_prefix(file.tensors, best_prefix, displaced_best_->tensors);
    state["best_metadata"] = displaced_best_->metadata;
  }
  file.metadata = {{"kind", "run"}, {"recipe", to_json(recipe).dump()}, {"state", state.dump()}};
  return file;
}

StoredRun stored_run(const SafetensorsFile& file, const std::string& source) {
  StoredRun run;
  run.recipe = recipe_from_json(metadata_json(file, "recipe", source), source);
  const nlohmann::json state = metadata_json(file, "state", source);
  try {
    state.at("step").get_to(run.finished_steps);
    state.at("steps_per_epoch").get_to(run.steps_per_epoch);
    state.at("data").get_to(run.data_fingerprint);
  } catch (const nlohmann::json::exception& error) {
    fail(where, source, ": expected the state of a run, got: ", error.what());
  }
  constexpr std::int64_t most_steps = std::numeric_limits<std::int32_t>::max();  // images are numbered by i32
  expect(run.steps_per_epoch >= 1 && run.steps_per_epoch <= most_steps && run.finished_steps >= 0 &&
             run.finished_steps <= run.total_steps(),
         where, source, ": expected a position within the run, got step ", run.finished_steps, " of ",
         run.recipe.epochs, " epochs of ", run.steps_per_epoch);
  return run;
}

void Trainer::restore_guard(const SafetensorsFile& file, const std::string& source) {
  const auto found = file.tensors.find(guard_name);
  expect(found != file.tensors.end() && found->second.shape == Shape{5}, where, source, ": expected a tensor ",
         guard_name, " [5], got none");
  const std::vector<double> values = to_doubles(found->second, guard_name);
  expect(std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); }), where, source,
         ": expected finite values in ", guard_name);
  guard_.copy_from_host(values.data());
  model_.set_temperature(kernels::temperature_on(path_of(recipe_.temperature, steps_per_epoch()), values[0]));
}

Model Trainer::model_of(const Recipe& recipe, const SafetensorsFile* state, const std::string& source) {
  if (state) return Model(recipe.model, weights_of(state->tensors), source, recipe.precision);
  return Model(recipe.model, static_cast<std::uint64_t>(recipe.seed), recipe.precision);
}

void Trainer::restore(const SafetensorsFile& file, const std::string& source) {
  const StoredRun run = stored_run(file, source);
  expect(run.data_fingerprint == data_fingerprint_ && run.steps_per_epoch == steps_per_epoch(), where, source,
         ": expected the data that the run was trained on, got others in ", recipe_.data,
         ": give their folder with --data");
  const Tensors velocity = with_prefix(file.tensors, optimizer_prefix);
  const Tensors average = with_prefix(file.tensors, average_prefix);
  const Tensors best = with_prefix(file.tensors, best_prefix);
  const kernels::ClassificationTotals totals = totals_of(file.tensors, source);
  std::optional<LossScaler::State> loss_scale;
  if (sgd_.loss_scaler()) loss_scale = loss_scale_of(file.tensors, source);
  const nlohmann::json state = metadata_json(file, "state", source);
  try {
    if (recipe_.autotune) conv::set_measured_plans(plans_from_json(state.at("plans"), source));
    if (state.contains("best")) best_ = {state["best"].at("accuracy"), state["best"].at("step")};
    if (state.contains("best_metadata")) displaced_best_ = SafetensorsFile{best, state["best_metadata"]};
  } catch (const nlohmann::json::exception& error) {
    fail(where, source, ": expected the state of a run, got: ", error.what());
  }
  if (average_) {
    average_->exchange();
    model_.store.load_state(average, source);
    average_->exchange();
  }
  if (guard_.defined()) restore_guard(file, source);
  model_.store.load_state_of(sgd_.velocity(), velocity, source);
  if (loss_scale) sgd_.loss_scaler()->write(*loss_scale);
  totals_.write(totals);
  step_ = seen_steps_ = run.finished_steps;
}

}  // namespace omniconv
