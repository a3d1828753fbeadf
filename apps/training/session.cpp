#include "apps/training/session.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/training/autotune.h"
#include "apps/training/batch_memory.h"
#include "apps/training/checkpoint.h"
#include "apps/training/configuration.h"
#include "apps/training/json_text.h"
#include "apps/training/plan.h"
#include "apps/training/require.h"
#include "apps/training/run_folder.h"
#include "apps/training/seeds.h"
#include "apps/training/signals.h"
#include "apps/training/statistics.h"
#include "apps/training/summary.h"
#include "apps/training/text.h"
#include "apps/training/trainer.h"
#include "engine/device.h"
#include "engine/files.h"

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

/// A path that still means the same when a run is resumed from elsewhere. @throws Error if config.json cannot hold it.
std::string lasting_path(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  const std::string lasting = error ? path : absolute.lexically_normal().string();
  expect(is_utf8(lasting), "run", lasting,
         ": expected a path in UTF-8, as config.json holds it, got other bytes: rename the folder or file");
  return lasting;
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

/// A stored run.
struct Resumption {
  SafetensorsFile file;
  StoredRun run;
  std::string source;
};

/// A new trainer, or the one of a stored run.
std::unique_ptr<Trainer> make_trainer(Recipe& recipe, const std::set<std::string>& given,
                                      std::optional<Residence> images, const Resumption* resumption = nullptr) {
  ImageData data = load_data(recipe.data);
  expect(data.class_names.size() >= 2, "data", recipe.data, ": expected at least 2 classes, got ",
         data.class_names.size());
  take_from_data(data, given, recipe.model);
  require(recipe.cutout <= recipe.model.image_size, "--cutout of at most ", recipe.model.image_size,
          ", the side of the images, got ", recipe.cutout);
  if (resumption)
    return std::make_unique<Trainer>(recipe, std::move(data), images, resumption->file, resumption->source);
  return std::make_unique<Trainer>(recipe, std::move(data), images);
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

/// "--lr 0.2 instead of 0.1, --epochs 5 instead of 8": which of the values under `keys` differ; "" if none do.
std::string list_differences(const Recipe& asked, const Recipe& own, std::set<std::string> keys) {
  keys.erase("data");  // compared by its content
  return joined(differences(asked, own, keys), ", ");
}

std::set<std::string> keys_of(const Recipe& recipe) {
  std::set<std::string> keys;
  const nlohmann::json json = to_json(recipe);
  for (const auto& [key, value] : json.items()) keys.insert(key);
  return keys;
}

/// @throws UsageError unless a new run of a series is to be what the series began with.
void expect_series_options(const Recipe& recipe, const Recipe& begun, const std::string& folder) {
  std::set<std::string> keys = keys_of(recipe);
  keys.erase("seed");
  const std::string conflicts = list_differences(recipe, begun, keys);
  if (!conflicts.empty())
    throw UsageError(concat("[resume] ", folder, ": expected the options that the series began with, got ", conflicts,
                            ": give the same, or start a new series"));
}

/// Makes the trainer and, but for a dry run, the first files in a folder that is prepared.
void begin(Start& start, const TrainOptions& options, const std::optional<Recipe>& begun, Console& console) {
  Recipe& recipe = start.recipe;
  std::optional<Checkpoint> init;
  if (!recipe.init.empty()) {
    init = read_checkpoint(recipe.init);
    plan_inflation(init->config, options.given, recipe);
  }
  start.trainer = make_trainer(recipe, options.given, options.images);
  if (init) load_weights(*init, start.trainer->model(), recipe.inflate_noise.value_or(0));
  init.reset();
  if (options.dry_run) return;

  Recipe kept = recipe;
  if (kept.data != "synthetic") kept.data = lasting_path(kept.data);
  if (!kept.init.empty()) kept.init = lasting_path(kept.init);
  if (begun) expect_series_options(kept, *begun, start.folder.path());

  // A series measures once; each of its runs keeps what was measured.
  if (recipe.autotune && conv::measured_plans().empty())
    conv::set_measured_plans(within_memory(recipe.batch_size, [&] { return autotune(recipe, console); }));

  const SafetensorsFile resume = start.trainer->resume_file();
  start.folder.remove_old_run();
  start.folder.remove_temporary_files();
  start.folder.write_config(kept);
  // From here on the run can be resumed, even if it is killed before its first epoch ends.
  start.folder.write(RunFolder::resume_name, resume);
}

/// `begun` is the recipe of another run of the same series, if there is one.
Start start_new(const TrainOptions& options, const std::optional<Recipe>& begun, Console& console) {
  Start start{options.recipe,
              RunFolder(options.out.empty() ? new_run_folder(options.recipe.model.model) : options.out),
              nullptr,
              {}};
  // First of all: what is wrong with the folder should not be found after minutes of reading and measuring.
  const bool is_new = !options.dry_run && start.folder.prepare();
  try {
    begin(start, options, begun, console);
  } catch (...) {
    if (is_new) start.folder.remove_if_empty();
    throw;
  }
  return start;
}

Resumption read_resumption(const RunFolder& folder) {
  Resumption resumption{folder.read_resume(), {}, folder.file(RunFolder::resume_name)};
  resumption.run = stored_run(resumption.file, resumption.source);
  return resumption;
}

/// @throws UsageError for options that are not the run's.
void expect_own_options(const TrainOptions& options, const RunFolder& folder, const StoredRun& run) {
  const std::string conflicts = list_differences(options.recipe, run.recipe, options.given);
  if (!conflicts.empty())
    throw UsageError(concat("[resume] ", folder.path(), ": expected the run's own options, got ", conflicts,
                            ": leave them out, or start a new run"));
}

Start start_again(const TrainOptions& options, const RunFolder& folder, const Resumption& resumption) {
  Start start{resumption.run.recipe, folder, nullptr, {}};
  Recipe& recipe = start.recipe;
  const std::optional<Recipe> config = folder.read_config();
  if (config) {
    recipe.data = config->data;
    recipe.init = config->init;
    const std::vector<std::string> changed = differences(*config, recipe, keys_of(recipe));
    expect(changed.empty(), "resume", folder.file(RunFolder::config_name),
           ": expected the run's own configuration, got ", changed.empty() ? "" : changed.front(),
           ": undo the change, or start a new run");
  }
  const std::string configured = recipe.data;
  if (options.given.contains("data")) recipe.data = options.recipe.data;
  if (recipe.data.empty())
    throw UsageError(concat("[resume] ", folder.path(), ": expected --data, got a run without config.json"));
  folder.prepare();
  start.trainer = make_trainer(recipe, {}, options.images, &resumption);

  // What was written behind the stored state, and the line of a stop within an epoch, are trained again.
  const std::int64_t steps = start.trainer->steps_per_epoch();
  const std::int64_t finished = start.trainer->finished_steps() / steps * steps;
  for (const EpochMetrics& line : folder.read_metrics())
    if (line.step <= finished && line.step % steps == 0) start.history.push_back(line);
  folder.remove_temporary_files();
  const std::string data = recipe.data == "synthetic" ? recipe.data : lasting_path(recipe.data);
  if (!config || data != configured) {
    Recipe kept = recipe;
    kept.data = data;
    folder.write_config(kept);
  }
  return start;
}

/// How a call ended: its exit code, and what --json says of it.
struct Outcome {
  int exit_code = 0;
  nlohmann::ordered_json json;
};

nlohmann::ordered_json outcome_json(const RunFolder& folder, std::int64_t step, std::int64_t total_steps,
                                    const std::vector<EpochMetrics>& history) {
  nlohmann::ordered_json outcome = nlohmann::ordered_json::object();
  if (!history.empty()) {
    const EpochMetrics& best = best_of(history);
    outcome = to_json(history.back());
    outcome["best_epoch"] = best.epoch;
    if (best.val_accuracy) outcome["best_val_accuracy"] = *best.val_accuracy;
    if (!best.val_accuracy) outcome["best_test_accuracy"] = best.chosen_by();
  }
  outcome["step"] = step;
  outcome["finished"] = step == total_steps;
  outcome["run"] = folder.path();
  return outcome;
}

void print_best(const RunFolder& folder, const std::vector<EpochMetrics>& history, const std::string& data,
                Console& console) {
  if (history.empty()) return;
  const EpochMetrics& best = best_of(history);
  console.print(text("Best %s accuracy %.4f, after epoch %lld (step %lld).", best.val_accuracy ? "validation" : "test",
                     best.chosen_by(), static_cast<long long>(best.epoch), static_cast<long long>(best.step)));
  if (const auto& accuracy = history.back().best_test_accuracy)
    console.print(text("Its test accuracy is %.4f.", *accuracy));
  console.print(concat("Next: omniconv eval --checkpoint ", shell_word(folder.file(RunFolder::best_name)), " --data ",
                       shell_word(data.empty() ? "DIR" : data)));
}

Outcome show_plan(Start& start, Console& console) {
  Trainer& trainer = *start.trainer;
  const std::int64_t bytes = estimate_peak_bytes(start.recipe, trainer);
  for (const std::string& line : header_lines(start.recipe, trainer, start.folder.path())) console.print(line);
  console.print("");
  for (const std::string& line : plan_lines(start.recipe, trainer, bytes)) console.print(line);
  console.print("");
  console.print("Nothing was trained or written (--dry-run).");
  return {0,
          {{"parameters", trainer.model().store.parameter_count()},
           {"steps_per_epoch", trainer.steps_per_epoch()},
           {"total_steps", trainer.total_steps()},
           {"estimated_peak_bytes", bytes}}};
}

/// One run, new or going on; `begun` as in start_new().
Outcome run_once(TrainOptions options, Console& console, const std::optional<Recipe>& begun = {}) {
  const bool resuming = !options.resume.empty();
  std::optional<Resumption> resumption;
  if (resuming) resumption = read_resumption(RunFolder(options.resume));
  apply_configuration(options, resumption ? &resumption->run.recipe : nullptr);
  check(options);
  if (options.threads) set_threads(static_cast<int>(*options.threads));
  set_cuda_graph(options.cuda_graph);

  if (resuming) {
    const RunFolder folder(options.resume);
    expect_own_options(options, folder, resumption->run);
    const StoredRun& run = resumption->run;
    if (run.finished_steps >= std::min(run.total_steps(), options.max_steps.value_or(run.total_steps()))) {
      const std::vector<EpochMetrics> history = folder.read_metrics();
      console.print(concat("The run in ", folder.path(), " has finished ", run.finished_steps, " of ",
                           run.total_steps(), " steps: nothing is left to do."));
      const std::optional<Recipe> config = folder.read_config();
      print_best(folder, history, config ? config->data : "", console);
      return {0, outcome_json(folder, run.finished_steps, run.total_steps(), history)};
    }
  }
  Start start = resuming ? start_again(options, RunFolder(options.resume), *resumption)
                         : start_new(options, begun, console);
  resumption.reset();
  if (options.dry_run) return show_plan(start, console);

  Trainer& trainer = *start.trainer;
  const bool dynamic = start.recipe.model.dynamic();
  for (const std::string& line : header_lines(start.recipe, trainer, start.folder.path())) console.print(line);
  console.print("");
  console.print(table_heading(dynamic, start.recipe.validation > 0));
  for (const EpochMetrics& line : start.history) console.print(table_line(line, dynamic));

  const std::int64_t last_step = std::min(trainer.total_steps(), options.max_steps.value_or(trainer.total_steps()));
  std::unique_ptr<RunObserver> observer;
  if (options.observe) observer = options.observe({start.folder.path(), trainer.finished_steps(), start.recipe.epochs});
  trainer.set_observer(observer.get());
  trainer.run(start.folder, last_step, options.log_steps, console, start.history);

  console.print("");
  print_best(start.folder, start.history, start.recipe.data, console);
  const bool stopped_early = trainer.finished_steps() < trainer.total_steps();
  if (stopped_early)
    console.print(concat("Stopped after step ", trainer.finished_steps(), " of ", trainer.total_steps(),
                         "; go on with: omniconv train --resume ", shell_word(start.folder.path())));
  const Outcome outcome{trainer.finished_steps() < last_step ? 128 + StopSignals::received() : 0,
                        outcome_json(start.folder, trainer.finished_steps(), trainer.total_steps(), start.history)};
  start.trainer.reset();
  if (outcome.exit_code == 0 && options.after_run) options.after_run(start.folder.path(), start.recipe.data);
  return outcome;
}

/// The folder of a series; that of a new one without --out is named after its model, which a file may name.
std::string series_folder(TrainOptions options) {
  if (!options.resume.empty()) return options.resume;
  if (!options.out.empty()) return options.out;
  apply_configuration(options, nullptr);
  return new_run_folder(options.recipe.model.model);
}

/// The runs of a series, one behind the other, each in a folder of its own; those that are there already go on.
Outcome run_series(const TrainOptions& options, Console& console) {
  check_series(options);
  const bool resuming = !options.resume.empty();
  const std::string series = series_folder(options);
  for (const std::string& path : options.compare) read_accuracies(path);  // faults of theirs are better found now
  Outcome outcome;
  outcome.json["runs"] = nlohmann::ordered_json::array();
  const auto has_begun = [&](std::int64_t seed) {
    return resuming && fs::exists(RunFolder(seed_folder(series, seed)).file(RunFolder::resume_name));
  };
  const auto first = std::find_if(options.seeds.begin(), options.seeds.end(), has_begun);
  std::optional<Recipe> begun;
  if (first != options.seeds.end()) begun = RunFolder(seed_folder(series, *first)).read_config();
  for (const std::int64_t seed : options.seeds) {
    TrainOptions one = options;
    one.seeds.clear();
    one.compare.clear();
    one.recipe.seed = seed;
    one.given.insert("seed");
    one.out = seed_folder(series, seed);
    one.resume = has_begun(seed) ? one.out : "";
    if (!one.resume.empty()) one.given.erase("init");  // which is for the runs that are still to start
    console.print(concat("seed     ", seed));
    const Outcome run = run_once(one, console, begun);
    console.print("");
    outcome.json["runs"].push_back(run.json);
    outcome.exit_code = run.exit_code;
    if (run.exit_code == 0 && run.json.at("finished") == true) continue;
    console.print(concat("The series goes on with the same options and --resume ", shell_word(series), '.'));
    return outcome;
  }

  AccuracyBySeed accuracies;
  std::vector<double> values;
  for (const std::int64_t seed : options.seeds) {
    accuracies.merge(read_accuracies(seed_folder(series, seed)));
    values.push_back(accuracies.at(seed));
    console.print(text("seed %-6lld test accuracy %.4f", static_cast<long long>(seed), values.back()));
  }
  const Spread spread = spread_of(values);
  console.print(
      text("mean        test accuracy %.4f, standard deviation %.4f", spread.mean, spread.standard_deviation));
  outcome.json["mean_test_accuracy"] = spread.mean;
  outcome.json["standard_deviation"] = spread.standard_deviation;
  for (const std::string& path : options.compare) {
    const PairedComparison c = compare(accuracies, path);
    console.print(text("minus %s: %+.4f, standard deviation %.4f, over %lld seeds; p = %.3g (signs flipped)",
                       path.c_str(), c.mean, c.standard_deviation, static_cast<long long>(c.pairs), c.p_value));
    outcome.json["comparisons"].push_back({{"other", path},
                                           {"pairs", c.pairs},
                                           {"mean_difference", c.mean},
                                           {"standard_deviation", c.standard_deviation},
                                           {"p_value", c.p_value}});
  }
  return outcome;
}

}  // namespace

int train(const TrainOptions& options, std::FILE* people, std::FILE* machines) {
  const StopSignals signals;
  Console console(people);
  const Outcome outcome = options.seeds.empty() ? run_once(options, console) : run_series(options, console);
  if (options.json) {
    std::fprintf(machines, "%s\n", json_line(outcome.json).c_str());
    std::fflush(machines);
  }
  return outcome.exit_code;
}

}  // namespace omniconv
