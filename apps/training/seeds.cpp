#include "apps/training/seeds.h"

#include <filesystem>

#include "apps/training/run_folder.h"
#include "apps/training/statistics.h"

namespace omniconv {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view where = "compare";
constexpr std::string_view prefix = "seed-";

/// Nothing where `path` holds no run.
void add_run(const std::string& path, AccuracyBySeed& accuracies) {
  const RunFolder folder(path);
  const std::optional<Recipe> recipe = folder.read_config();
  if (!recipe) return;
  const std::vector<EpochMetrics> history = folder.read_metrics();
  expect(!history.empty(), where, path, ": expected a finished run, got one without metrics");
  const EpochMetrics& last = history.back();
  const std::optional<double> accuracy = recipe->validation > 0 ? last.best_test_accuracy : last.test_accuracy;
  expect(accuracy.has_value(), where, path, ": expected a finished run, got one without a test accuracy");
  accuracies[recipe->seed] = *accuracy;
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
  add_run(path, accuracies);
  for (const auto& entry : fs::directory_iterator(path, error))
    if (entry.path().filename().string().starts_with(prefix)) add_run(entry.path().string(), accuracies);
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
  return {path, static_cast<std::int64_t>(differences.size()), spread.mean, spread.deviation,
          sign_flip_p_value(differences)};
}

}  // namespace omniconv
