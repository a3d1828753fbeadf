#include "apps/training/options.h"

#include <filesystem>
#include <set>

#include "apps/training/require.h"
#include "engine/device.h"
#include "engine/files.h"
#include "engine/step_graph.h"

namespace omniconv {

void check_uses(const std::set<std::string>& named, const ModelConfig& model) {
  for (const auto& [key, option] :
       {std::pair("reduction", "--reduction"), {"downsample", "--downsample"}, {"attention_norm", "--attention-norm"}})
    require(model.dynamic() || !named.contains(key), "a dynamic model with ", option, ", got the static ", model.model);
}

void check_uses(const std::set<std::string>& named, const Recipe& recipe) {
  check_uses(named, recipe.model);
  require(recipe.lr_schedule == LearningRateSchedule::step || !named.contains("lr_factor"),
          "--lr-schedule step with --lr-factor, got ", name_of(recipe.lr_schedule));
  require(recipe.augment || !named.contains("flip") || recipe.flip == kernels::Flip::never,
          "--no-augment without --flip ", name_of(recipe.flip), ", got both");
}

void check_threads(const std::optional<std::int64_t>& threads) {
  require(!threads || (*threads >= 1 && *threads <= most_threads), "--threads of 1 to ", most_threads, ", got ",
          threads.value_or(0));
}

void set_cuda_graph(std::string_view word) {
  if (word.empty()) return;
  require(word == "on" || word == "off", "--cuda-graph on or off, got ", in_quotes(word));
  require(word == "off" || device_kind() == "cuda",
          "--cuda-graph off, got on: this build computes on the CPU, where there are no CUDA graphs");
  set_step_graphs(word == "on");
}

void check_series(const TrainOptions& options) {
  const std::set<std::int64_t> different(options.seeds.begin(), options.seeds.end());
  require(different.size() == options.seeds.size(), "--seeds that differ, got ", options.seeds.size(), " of which ",
          different.size(), " differ");
  require(different.empty() || *different.begin() >= 0, "--seeds of at least 0, got ",
          different.empty() ? 0 : *different.begin());
  require(options.seeds.empty() || !options.given.contains("seed"), "--seed or --seeds, got both");
  require(options.compare.empty() || !options.seeds.empty(), "--seeds with --compare, got none");
  require(options.seeds.empty() || !options.max_steps, "--seeds or --max-steps, got both");
  require(!options.dry_run || (options.seeds.empty() && options.resume.empty()), "--dry-run of a new run, got it with ",
          options.seeds.empty() ? "--resume" : "--seeds");
}

void check(const TrainOptions& options) {
  check_series(options);
  check_threads(options.threads);
  require(!options.max_steps || *options.max_steps >= 1, "--max-steps of at least 1, got ",
          options.max_steps.value_or(0));
  if (options.resume.empty()) {
    require(!options.recipe.data.empty(), "--data with a CIFAR-10 folder or the word synthetic, got none");
    check(options.recipe);
    require(!options.recipe.inflate_noise || !options.recipe.init.empty(),
            "--inflate-noise with --init, the static checkpoint to inflate, got none");
    return;
  }
  require(!options.given.contains("init"), "--init or --resume, got both: a resumed run has its weights already");
  const auto plain = [](const std::string& path) { return std::filesystem::path(path + "/").lexically_normal(); };
  require(options.out.empty() || plain(options.out) == plain(options.resume), "--resume without --out, got --out ",
          options.out, ": a run goes on in its own folder");
}

}  // namespace omniconv
