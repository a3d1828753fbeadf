// The lines of metrics.jsonl.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace omniconv {

/// What is known when an epoch ends, or when a run stops within one.
struct EpochMetrics {
  std::int64_t epoch = 0;  ///< from 1
  std::int64_t step = 0;   ///< optimizer steps of the run so far
  std::string stage;       ///< of the last step, empty without stages
  double lr = 0;           ///< of the last step
  double temperature = 0;  ///< of the last step
  double train_loss = 0;   ///< mean over the epoch's images, as they were met
  double train_accuracy = 0;
  std::optional<double> val_loss, val_accuracy;              ///< on images held out, where there are some
  std::optional<double> test_loss, test_accuracy;            ///< where the test set was evaluated
  std::optional<double> best_test_loss, best_test_accuracy;  ///< at the end of a run with validation: of the best epoch
  double images_per_second = 0;     ///< training alone, without the first two steps of a process
  std::int64_t peak_bytes = 0;      ///< of the device allocator
  std::int64_t peak_rss_bytes = 0;  ///< of the process
  // Of runs in f16 alone:
  std::optional<double> loss_scale;           ///< of the next step
  std::optional<std::int64_t> skipped_steps;  ///< of the run so far, because gradients overflowed

  /// What the best epoch is chosen by: the accuracy on held-out images, or else on the test images.
  double chosen_by() const { return val_accuracy ? *val_accuracy : test_accuracy.value_or(0); }
  friend bool operator==(const EpochMetrics&, const EpochMetrics&) = default;
};

/// The metrics whose chosen_by() is the highest, the first of equals; `history` is not empty.
const EpochMetrics& best_of(const std::vector<EpochMetrics>& history);

/// Object with the fields as keys, in their order.
nlohmann::ordered_json to_json(const EpochMetrics& metrics);

/// One line per element.
std::string format_metrics(const std::vector<EpochMetrics>& lines);
/// @throws Error naming `source` and the line that is none of ours.
std::vector<EpochMetrics> parse_metrics(const std::string& text, const std::string& source);

/// Largest resident memory of this process so far.
std::int64_t peak_resident_bytes();

}  // namespace omniconv
