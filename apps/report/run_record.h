// What a run has left behind, as its report shows it.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "apps/report/charts.h"

namespace omniconv {

struct RunRecord {
  std::string path;
  std::vector<std::pair<std::string, std::string>> configuration;  ///< config.json, key by key
  /// metrics.jsonl, column by column: a value per line for each key of a number, NaN where a line has none
  std::map<std::string, std::vector<double>> metrics;

  /// The setting of that key, "" if there is none.
  std::string setting(const std::string& key) const;
  /// Whether any line has a number for `key`.
  bool has(const std::string& key) const;
  /// `key` over the epochs.
  Series curve(const std::string& key, const std::string& name) const;
  /// Number of the line with the best accuracy on held-out images, or else on the test images; the first of equals.
  std::size_t best_line() const;
  /// val_accuracy or test_accuracy: what `best` was chosen by.
  std::string chosen_by() const { return has("val_accuracy") ? "val_accuracy" : "test_accuracy"; }
};

/// Reads config.json and metrics.jsonl of the run folder `path`. @throws Error naming the file if there is none, if it
/// is none of ours, or if no epoch has ended yet.
RunRecord read_run(const std::string& path);

}  // namespace omniconv
