#include "apps/training/seeds.h"

#include <filesystem>

#include "apps/training/run_folder.h"
#include "apps/training/statistics.h"
#include "apps/training/trainer.h"

namespace omniconv {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view where = "compare";
constexpr std::string_view prefix = "seed-";

void add_run(const RunFolder& folder, const Recipe& recipe, AccuracyBySeed& accuracies) {
  const std::string& path = folder.path();
  const StoredRun run = stored_run(folder.read_resume(), folder.file(RunFolder::resume_name));
  expect(run.finished_steps == run.total_steps(), where, path, ": expected a finished run, got one after step ",
         run.finished_steps, " of ", run.total_steps());
  const std::vector<EpochMetrics> history = folder.read_metrics();
  expect(!history.empty(), where, path, ": expected a finished run, got one without metrics");
  const EpochMetrics& last = history.back();
  const std::optional<double> accuracy = recipe.validation > 0 ? last.best_test_accuracy : last.test_accuracy;
  expect(accuracy.has_value(), where, path, ": expected a finished run, got one without a test accuracy");
  expect(accuracies.emplace(recipe.seed, *accuracy).second, where, path,
         ": expected one run with each seed, got two with ", recipe.seed);
}

}  // namespace

std::string seed_folder(const std::string& series, std::int64_t seed) {
  return (fs::path(series) / concat(prefix, seed)).string();
}

AccuracyBySeed read_accuracies(const std::string& path) {
  std::error_code error;
  expect(fs::is_directory(path, error), where, path,
         ": expected the folder of a run or of a series, got no such folder");
  AccuracyBySeed accuracies;
  const RunFolder run(path);
  if (const std::optional<Recipe> recipe = run.read_config()) add_run(run, *recipe, accuracies);
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (!entry.path().filename().string().starts_with(prefix)) continue;
    const RunFolder of_series(entry.path().string());
    const std::optional<Recipe> recipe = of_series.read_config();
    // A copy under another name, such as seed-0-old, is none of the series.
    if (recipe && of_series.path() == seed_folder(path, recipe->seed)) add_run(of_series, *recipe, accuracies);
  }
  expect(!accuracies.empty(), where, path,
         ": expected the folder of a run or of a series, got one without config.json");
  return accuracies;
}

PairedComparison compare(const AccuracyBySeed& accuracies, const std::string& path) {
  const AccuracyBySeed others = read_accuracies(path);
  std::vector<double> differences;
  for (const auto& [seed, accuracy] : accuracies)
    if (const auto other = others.find(seed); other != others.end()) differences.push_back(accuracy - other->second);
  expect(!differences.empty(), where, path, ": expected runs with a seed of this series, got none");
  const Spread spread = spread_of(differences);
  return {path, static_cast<std::int64_t>(differences.size()), spread.mean, spread.standard_deviation,
          sign_flip_p_value(differences)};
}

}  // namespace omniconv
