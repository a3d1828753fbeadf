// What a run has left behind, as its report shows it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "apps/report/charts.h"
#include "apps/training/metrics.h"

namespace omniconv {

struct RunRecord {
  std::string path;
  std::vector<std::pair<std::string, std::string>> configuration;  ///< config.json, key by key
  std::vector<EpochMetrics> history;                                ///< metrics.jsonl, at least one epoch

  /// The setting of that key, "" if there is none.
  std::string setting(const std::string& key) const;
  /// `key` of the metrics over those epochs that have a number for it.
  Series curve(const std::string& key, const std::string& name) const;
};

/// Reads config.json and metrics.jsonl of the run folder `path`. @throws Error naming the file if there is none, if it
/// is none of ours, or if no epoch has ended yet.
RunRecord read_run(const std::string& path);

}  // namespace omniconv
