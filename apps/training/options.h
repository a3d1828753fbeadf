// What a call of `train` is asked to do: the recipe, and how this one call carries it out.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "apps/training/observer.h"
#include "apps/training/recipe.h"
#include "apps/training/residence.h"

namespace omniconv {

/// A `train` call: the recipe and what changes none of its numbers.
struct TrainOptions {
  Recipe recipe;
  std::set<std::string> given;            ///< keys of the recipe's JSON that the call named itself
  std::string preset, config;             ///< of --recipe and --config, see apply_configuration()
  std::string stages;                     ///< a file of stages, or "progressive"
  std::vector<std::int64_t> seeds;        ///< run once with each, in a series; empty: once, with the recipe's
  std::vector<std::string> compare;       ///< runs or series to compare a series with
  bool dry_run = false;                   ///< show what the run would be, and train nothing
  std::string out;                        ///< run folder; empty: a new one under runs/
  std::string resume;                     ///< run folder to continue; empty: a new run
  std::optional<std::int64_t> max_steps;  ///< optimizer steps of the run at which this call stops
  std::optional<std::int64_t> threads;
  std::string cuda_graph;           ///< see set_cuda_graph()
  std::optional<Residence> images;  ///< where they lie; nothing: see residence_now()
  bool log_steps = false;
  /// Called with the folder and the data of each run that no signal ended, when its memory is free again; may be empty.
  std::function<void(const std::string& folder, const std::string& data)> after_run;
  MakeObserver observe;  ///< makes who else hears of a run, besides the console and its files; may be empty
  bool json = false;
};

/// @throws UsageError for a value that no call could have, or values that contradict each other.
void check(const TrainOptions& options);
/// Refuses options without an effect: what only the structure of a dynamic model, only --lr-schedule step or only
/// augmented images have a use for. `named` are the keys, as in the recipe's JSON, that a call itself named, which
/// presets do not. How attention starts and cools down (--attention-init, --temperature) is no part of a static model
/// either, but twins are trained by one command line.
/// @throws UsageError naming the first.
void check_uses(const std::set<std::string>& named, const ModelConfig& model);
void check_uses(const std::set<std::string>& named, const Recipe& recipe);
/// The same for what --seeds, --compare and --dry-run go with.
void check_series(const TrainOptions& options);
/// --cuda-graph on or off of a call, or nothing: whether steps are recorded as CUDA graphs (engine/step_graph.h).
/// @throws UsageError for another word, and for "on" in a build for the CPU.
void set_cuda_graph(std::string_view word);
inline constexpr const char* cuda_graph_help =
    "Queue steps as CUDA graphs: on, off (on in a CUDA build; no result depends on it)";
/// @throws UsageError unless `threads` is absent or a number of threads the engine takes.
void check_threads(const std::optional<std::int64_t>& threads);

}  // namespace omniconv
