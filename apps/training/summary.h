// The text around a training run: what is going to happen, a table row per epoch, what came out.
#pragma once

#include <string>
#include <vector>

#include "apps/training/metrics.h"
#include "apps/training/trainer.h"

namespace omniconv {

/// Lines in front of a run, at most 80 columns as long as paths are short.
std::vector<std::string> header_lines(const Recipe& recipe, const Trainer& trainer, const std::string& folder);

/// Heading of the table, and a row of it: T is shown where there are attentions, and of the held-out and the test
/// images those that the best epoch is chosen by.
std::string table_heading(bool dynamic, bool validated);
std::string table_line(const EpochMetrics& metrics, bool dynamic);

/// `word` as a shell reads it back.
std::string shell_word(const std::string& word);

}  // namespace omniconv
