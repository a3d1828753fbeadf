#include "apps/training/session.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/training/checkpoint.h"
#include "apps/training/run_folder.h"
#include "apps/training/signals.h"
#include "apps/training/summary.h"
#include "apps/training/text.h"
#include "apps/training/trainer.h"
#include "engine/device.h"

namespace omniconv {
namespace {

namespace fs = std::filesystem;

/// What both kinds of start lead to.
struct Start {
  Recipe recipe;
  RunFolder folder;
  std::unique_ptr<Trainer> trainer;
  std::vector<EpochMetrics> history;
};

/// A path that still means the same when a run is resumed from elsewhere.
std::string lasting_path(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  return error ? path : absolute.lexically_normal().string();
}

/// Takes over what the data decide about a model; options that the call named itself must agree.
void take_from_data(const ImageData& data, const std::set<std::string>& given, ModelConfig& model) {
  const auto take = [&](const char* key, const char* option, std::int64_t& value, std::int64_t of_data) {
    if (given.contains(key) && value != of_data)
      throw UsageError(concat("[options] expected ", option, ' ', of_data, ", as the data have it, got ", value,
                              ": leave the option out, or take other data"));
    value = of_data;
  };
  take("classes", "--classes", model.classes, static_cast<std::int64_t>(data.class_names.size()));
  take("image_size", "--image-size", model.image_size, data.train.extent);
  model.class_names = data.class_names;
}

std::unique_ptr<Trainer> make_trainer(Recipe& recipe, const std::set<std::string>& given) {
  const ImageData data = load_data(recipe.data);
  expect(data.class_names.size() >= 2, "data", recipe.data, ": expected at least 2 classes, got ",
         data.class_names.size());
  take_from_data(data, given, recipe.model);
  return std::make_unique<Trainer>(recipe, data);
}

/// Settles whether the weights of `stored`, which the run starts from, are inflated, and what that means for its
/// recipe.
void plan_inflation(const ModelConfig& stored, const std::set<std::string>& given, Recipe& recipe) {
  constexpr double usual_noise = 0.1;
  if (!recipe.model.dynamic() || stored.dynamic()) {
    if (recipe.inflate_noise)
      throw UsageError(
          concat("[options] expected --inflate-noise with a dynamic model and --init of a static one, got ",
                 recipe.model.model, " and ", stored.model, ": leave it out"));
    return;
  }
  if (given.contains("attention_init") && recipe.model.attention_init != AttentionInit::zero)
    throw UsageError(concat("[options] expected --attention-init zero with --init of a static model, got ",
                            name_of(recipe.model.attention_init),
                            ": inflated weights are right under neutral attention"));
  recipe.model.attention_init = AttentionInit::zero;
  recipe.inflate_noise = recipe.inflate_noise.value_or(usual_noise);
}

Start start_new(const TrainOptions& options) {
  Start start{options.recipe,
              RunFolder(options.out.empty() ? new_run_folder(options.recipe.model.model) : options.out),
              nullptr,
              {}};
  Recipe& recipe = start.recipe;
  std::optional<Checkpoint> init;
  if (!recipe.init.empty()) {
    init = read_checkpoint(recipe.init);
    plan_inflation(init->config, options.given, recipe);
  }
  start.trainer = make_trainer(recipe, options.given);
  if (init) load_weights(*init, start.trainer->model(), recipe.inflate_noise.value_or(0));
  init.reset();

  start.folder.prepare();
  start.folder.remove_old_run();
  start.folder.remove_temporary_files();
  Recipe kept = recipe;
  if (kept.data != "synthetic") kept.data = lasting_path(kept.data);
  if (!kept.init.empty()) kept.init = lasting_path(kept.init);
  start.folder.write_config(kept);
  // From here on the run can be resumed, even if it is killed before its first epoch ends.
  start.folder.write(RunFolder::resume_name, start.trainer->resume_file());
  return start;
}

/// A stored run and how far it is asked to go.
struct Resumption {
  SafetensorsFile file;
  StoredRun run;
  std::string source;
};

Resumption read_resumption(const TrainOptions& options, const RunFolder& folder) {
  Resumption resumption{folder.read_resume(), {}, folder.file(RunFolder::resume_name)};
  resumption.run = stored_run(resumption.file, resumption.source);
  std::set<std::string> keys = options.given;
  keys.erase("data");  // compared by its content
  const std::vector<std::string> conflicts = differences(options.recipe, resumption.run.recipe, keys);
  std::string listed;
  for (const std::string& conflict : conflicts) listed += (listed.empty() ? "" : ", ") + conflict;
  if (!conflicts.empty())
    throw UsageError(concat("[resume] ", folder.path(), ": expected the run's own options, got ", listed,
                            ": leave them out, or start a new run"));
  return resumption;
}

Start start_again(const TrainOptions& options, const RunFolder& folder, const Resumption& resumption) {
  Start start{resumption.run.recipe, folder, nullptr, {}};
  Recipe& recipe = start.recipe;
  const std::optional<Recipe> config = folder.read_config();
  if (config) {
    recipe.data = config->data;
    recipe.init = config->init;
    std::set<std::string> keys;
    const nlohmann::json config_json = to_json(*config);
    for (const auto& [key, value] : config_json.items()) keys.insert(key);
    const std::vector<std::string> changed = differences(*config, recipe, keys);
    expect(changed.empty(), "resume", folder.file(RunFolder::config_name),
           ": expected the run's own configuration, got ", changed.empty() ? "" : changed.front(),
           ": undo the change, or start a new run");
  }
  const std::string configured = recipe.data;
  if (options.given.contains("data")) recipe.data = options.recipe.data;
  if (recipe.data.empty())
    throw UsageError(concat("[resume] ", folder.path(), ": expected --data, got a run without config.json"));
  start.trainer = make_trainer(recipe, {});
  start.trainer->restore(resumption.file, resumption.source);

  // What was written behind the stored state, and the line of a stop within an epoch, are trained again.
  const std::int64_t steps = start.trainer->steps_per_epoch();
  const std::int64_t finished = start.trainer->finished_steps() / steps * steps;
  for (const EpochMetrics& line : folder.read_metrics())
    if (line.step <= finished && line.step % steps == 0) start.history.push_back(line);
  folder.prepare();
  folder.remove_temporary_files();
  const std::string data = recipe.data == "synthetic" ? recipe.data : lasting_path(recipe.data);
  if (!config || data != configured) {
    Recipe kept = recipe;
    kept.data = data;
    folder.write_config(kept);
  }
  return start;
}

void print_outcome(const RunFolder& folder, std::int64_t step, std::int64_t total_steps,
                   const std::vector<EpochMetrics>& history, std::FILE* machines) {
  nlohmann::ordered_json outcome = nlohmann::ordered_json::object();
  if (!history.empty()) {
    outcome = to_json(history.back());
    outcome["best_epoch"] = best_of(history).epoch;
    outcome["best_test_accuracy"] = best_of(history).test_accuracy;
  }
  outcome["step"] = step;
  outcome["finished"] = step == total_steps;
  outcome["run"] = folder.path();
  std::fprintf(machines, "%s\n", outcome.dump().c_str());
  std::fflush(machines);
}

void print_best(const RunFolder& folder, const std::vector<EpochMetrics>& history, const std::string& data,
                Console& console) {
  if (history.empty()) return;
  const EpochMetrics& best = best_of(history);
  console.print(text("Best test accuracy %.4f, after epoch %lld (step %lld).", best.test_accuracy,
                     static_cast<long long>(best.epoch), static_cast<long long>(best.step)));
  console.print(concat("Next: omniconv eval --checkpoint ", shell_word(folder.file(RunFolder::best_name)), " --data ",
                       shell_word(data.empty() ? "DIR" : data)));
}

}  // namespace

int train(const TrainOptions& options, std::FILE* people, std::FILE* machines) {
  const bool resuming = !options.resume.empty();
  check(options);
  if (options.threads) set_threads(static_cast<int>(*options.threads));
  const StopSignals signals;
  Console console(people);

  std::optional<Resumption> resumption;
  if (resuming) {
    const RunFolder folder(options.resume);
    resumption = read_resumption(options, folder);
    const StoredRun& run = resumption->run;
    if (run.finished_steps >= std::min(run.total_steps(), options.max_steps.value_or(run.total_steps()))) {
      const std::vector<EpochMetrics> history = folder.read_metrics();
      console.print(concat("The run in ", folder.path(), " has finished ", run.finished_steps, " of ",
                           run.total_steps(), " steps: nothing is left to do."));
      const std::optional<Recipe> config = folder.read_config();
      print_best(folder, history, config ? config->data : "", console);
      if (options.json) print_outcome(folder, run.finished_steps, run.total_steps(), history, machines);
      return 0;
    }
  }
  Start start = resuming ? start_again(options, RunFolder(options.resume), *resumption) : start_new(options);
  resumption.reset();

  Trainer& trainer = *start.trainer;
  for (const std::string& line : header_lines(start.recipe, trainer, start.folder.path())) console.print(line);
  console.print("");
  console.print(table_heading(start.recipe.model.dynamic()));
  for (const EpochMetrics& line : start.history) console.print(table_line(line, start.recipe.model.dynamic()));

  const std::int64_t last_step = std::min(trainer.total_steps(), options.max_steps.value_or(trainer.total_steps()));
  trainer.run(start.folder, last_step, options.log_steps, console, start.history);

  console.print("");
  print_best(start.folder, start.history, start.recipe.data, console);
  const bool stopped_early = trainer.finished_steps() < trainer.total_steps();
  if (stopped_early)
    console.print(concat("Stopped after step ", trainer.finished_steps(), " of ", trainer.total_steps(),
                         "; go on with: omniconv train --resume ", shell_word(start.folder.path())));
  if (options.json)
    print_outcome(start.folder, trainer.finished_steps(), trainer.total_steps(), start.history, machines);
  return trainer.finished_steps() < last_step ? 128 + StopSignals::received() : 0;
}

}  // namespace omniconv
