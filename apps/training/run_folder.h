// The folder of a run: config.json, metrics.jsonl, steps.jsonl, last, best and resume.safetensors, report.html, and
// TensorBoard's event files.
//
// Every file but steps.jsonl and the event files is replaced whole, so that a reader sees the old or the new one.
// resume.safetensors is written last and alone decides where a run stands; what the others hold beyond it is dropped when
// the run goes on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/training/metrics.h"
#include "apps/training/options.h"
#include "engine/safetensors.h"

namespace omniconv {

class RunFolder {
 public:
  explicit RunFolder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  std::string file(const char* name) const;

  /// What config.json says of itself.
  static constexpr const char* program_key = "program";
  static constexpr const char* program_name = "omniconv train";
  static constexpr const char* config_name = "config.json";
  static constexpr const char* event_prefix = "events.out.tfevents.";  ///< what names of TensorBoard's files begin with
  static constexpr const char* metrics_name = "metrics.jsonl";
  static constexpr const char* steps_name = "steps.jsonl";
  static constexpr const char* last_name = "last.safetensors";
  static constexpr const char* best_name = "best.safetensors";
  static constexpr const char* report_name = "report.html";
  static constexpr const char* resume_name = "resume.safetensors";

  /// Creates the folder where it is missing and tries that files can be written there.
  /// Returns whether it was missing. @throws Error naming the folder if they cannot, or if it holds another program's
  /// config.json.
  bool prepare() const;
  void remove_if_empty() const;
  /// Removes the files of an earlier run; whatever else is there stays.
  void remove_old_run() const;
  /// Removes what a killed process left half-written.
  void remove_temporary_files() const;

  void write_config(const Recipe& recipe) const;
  /// Nothing if there is no file. @throws Error if it is none of ours.
  std::optional<Recipe> read_config() const;

  void write_metrics(const std::vector<EpochMetrics>& lines) const;
  /// Empty if there is no file.
  std::vector<EpochMetrics> read_metrics() const;

  void write(const char* name, const SafetensorsFile& content) const { write_safetensors(file(name), content); }
  /// @throws Error that says what a folder to resume must hold.
  SafetensorsFile read_resume() const;

 private:
  std::string path_;
};

/// steps.jsonl: {"step", "loss"} for every optimizer step, in order.
class StepLog {
 public:
  /// Keeps the lines of the first `finished_steps` steps of an earlier call.
  StepLog(const RunFolder& folder, std::int64_t finished_steps);
  ~StepLog();
  StepLog(const StepLog&) = delete;
  StepLog& operator=(const StepLog&) = delete;

  /// Appends steps `first`, `first` + 1, ...
  void append(std::int64_t first, const std::vector<double>& losses, DType precision);

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
};

/// @throws Error `[where] ...` unless a file can be written at `path`, which stays as it is.
void expect_writable(std::string_view where, const std::string& path);

/// The first of runs/MODEL-1, runs/MODEL-2, ... that does not exist.
std::string new_run_folder(const std::string& model);

}  // namespace omniconv
