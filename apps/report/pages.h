// Reports as HTML pages that stand by themselves: style, SVG and pictures inside, no script, nothing fetched.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/report/attention_statistics.h"
#include "apps/report/run_record.h"
#include "apps/report/test_results.h"

namespace omniconv {

/// What of a run its page shows besides its record.
struct RunDetails {
  std::string checkpoint;                       ///< name of the file that the rest is about
  TestResults test;
  std::optional<AttentionStatistics> attention;  ///< of a dynamic model
};

/// Curves, confusion matrix, most confident mistakes, attention maps, configuration.
std::string run_page(const RunRecord& run, const RunDetails& details);

/// Several runs side by side: a table, the settings that differ, and their curves in common charts.
std::string comparison_page(const std::vector<RunRecord>& runs);

}  // namespace omniconv
