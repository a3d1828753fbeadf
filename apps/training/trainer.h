// The training loop: a batch's life from the data set to the metrics.
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/training/dataset.h"
#include "apps/training/evaluator.h"
#include "apps/training/feed.h"
#include "apps/training/metrics.h"
#include "apps/training/observer.h"
#include "apps/training/options.h"
#include "apps/training/progress.h"
#include "apps/training/run_folder.h"
#include "apps/training/speed.h"
#include "apps/training/totals.h"
#include "data/batches.h"
#include "engine/ops/functions.h"
#include "engine/optimizer.h"
#include "engine/step_graph.h"
#include "engine/weight_average.h"

namespace omniconv {

/// Forward, loss and backward from sgd.loss_gradient(): adds to the gradients since begin_gradients(). `options` say
/// what the batch does not; `totals` (or nullptr) grows by the batch. Returns the loss [1].
Tensor add_gradients(const Model& model, const Sgd& sgd, const Batch& batch, ops::LossOptions options,
                     kernels::ClassificationTotals* totals);

/// One optimizer step: forward, loss, backward, SGD. Returns the loss [1].
Tensor train_on_batch(const Model& model, const Sgd& sgd, const Batch& batch, kernels::ClassificationTotals* totals);

/// A model in training, with everything that decides how it goes on.
class Trainer {
 public:
  /// `recipe.model.classes` must be those of `data`; nothing for `images` means residence_now(). @throws Error if the
  /// data cannot be trained on.
  Trainer(const Recipe& recipe, ImageData data, std::optional<Residence> images = {})
      : Trainer(recipe, std::move(data), images, nullptr, "") {}
  /// One that goes on where `state` (resume_file()) stopped, exactly. @throws Error naming `source` for another run's
  /// state, before memory is asked for on its word.
  Trainer(const Recipe& recipe, ImageData data, std::optional<Residence> images, const SafetensorsFile& state,
          const std::string& source)
      : Trainer(recipe, std::move(data), images, &state, source) {}

  Model& model() { return model_; }
  const Model& model() const { return model_; }
  const Sgd& sgd() const { return sgd_; }
  std::int64_t train_count() const { return train_.count(); }
  std::int64_t test_count() const { return test_.count(); }
  std::int64_t validation_count() const { return validation_ ? validation_->count() : 0; }
  Residence residence() const { return residence_; }
  std::int64_t steps_per_epoch() const { return static_cast<std::int64_t>(ranges_.size()); }
  std::int64_t total_steps() const { return steps_per_epoch() * recipe_.epochs; }
  std::int64_t finished_steps() const { return step_; }

  /// Who hears of run(); it must outlive it. Null for nobody.
  void set_observer(RunObserver* observer) { observer_ = observer; }

  /// Trains until `last_step` steps of the run are finished or a signal comes. After each epoch, and where it stops
  /// within one, it evaluates and writes metrics and checkpoints, beside the training of the next epoch; all are
  /// written when it returns. `history` are the metrics so far and grows.
  /// @throws Error naming the step for a loss that is not finite, the files then are those of the epoch before; or for
  /// files that could not be written, an epoch late.
  void run(const RunFolder& folder, std::int64_t last_step, bool log_steps, Console& console,
           std::vector<EpochMetrics>& history);

  /// Everything that an exact continuation needs.
  SafetensorsFile resume_file() const;

 private:
  Trainer(const Recipe& recipe, ImageData data, std::optional<Residence> images, const SafetensorsFile* state,
          const std::string& source);

  struct Best {
    double accuracy;
    std::int64_t step;
  };
  /// All that the files of a moment are made of, in memory of the host: training goes on while they are written.
  struct Snapshot {
    ParameterStore::Snapshot weights;
    std::optional<ParameterStore::Snapshot> averages;  // with --ema: what was evaluated
    HostCopy velocity;
    SafetensorsFile rest;                               // of resume.safetensors
    std::map<std::string, std::string> model_metadata;  // of the model that was evaluated
  };
  /// What becomes of best.safetensors.
  struct BestFile {
    bool is_current = false;                  // the model that was just evaluated
    bool within_epoch = false;                // and that by a stop
    std::optional<SafetensorsFile> restored;  // else, if there is one, this
  };

  /// Makes the step that follows `finished_steps` finished ones the next one of the device: the order and the values of
  /// all steps of its epoch, and its position among them.
  void place_device(std::int64_t finished_steps);
  /// Calls `body` with the parts of a batch of `samples` images, that of the device's next step.
  void for_each_part(std::int64_t samples, const std::function<void(const Batch&)>& body);
  void train_step();
  /// The device's share of a step over `samples` images, from the gathering of the batch to the new weights.
  void queue_step(std::int64_t samples);
  /// Why the loss of the step that follows `finished_steps` finished ones is not finite: the first layer to blame.
  std::string fault_of(std::int64_t finished_steps);
  void train_epoch(std::int64_t last_step, StepLog* log, Console& console);
  void look(StepLog* log, Console& console, std::int64_t last_step);
  void tell_observer(const std::vector<double>& losses, const kernels::ClassificationTotals& totals);
  double last_temperature() const;
  EpochMetrics evaluate_epoch(Console& console);
  void guard_temperature(const Tensor& loss);
  void restore_guard(const SafetensorsFile& file, const std::string& source);
  std::string stage_name() const;
  bool reads_test() const;
  /// With the weights of `state`, if there is one; else as the seed draws them.
  static Model model_of(const Recipe& recipe, const SafetensorsFile* state, const std::string& source);
  /// All of the state but the weights, which the model has.
  void restore(const SafetensorsFile& file, const std::string& source);
  Evaluation evaluate_on(const Dataset& dataset, const char* name, Console& console);
  void test_best(const RunFolder& folder, EpochMetrics& metrics, Console& console);
  BestFile choose_best(const RunFolder& folder, double accuracy);
  void take(Snapshot& snapshot) const;
  SafetensorsFile rest_of_state() const;
  SafetensorsFile resume_file(const Snapshot& snapshot, std::map<std::string, HostTensor> weights,
                              std::map<std::string, HostTensor> averages) const;
  void write_files(const RunFolder& folder, const BestFile& best, const std::vector<EpochMetrics>& history) const;
  void finish_writing();

  Recipe recipe_;
  std::string data_fingerprint_;
  Residence residence_;                // of all images
  std::optional<Dataset> validation_;  // images of the training set that are held out
  Dataset train_, test_;
  std::vector<BatchRange> ranges_;
  Feed feed_;  // of the epoch's batches
  Model model_;
  Sgd sgd_;
  std::optional<WeightAverage> average_;  // with --ema

  std::int64_t step_ = 0;     // finished optimizer steps of the run: its whole position
  DeviceTotals totals_;       // of the epoch in progress
  std::optional<Best> best_;  // among whole epochs
  std::optional<SafetensorsFile>
      displaced_best_;  // best of whole epochs while best.safetensors is of a stop within one

  // What a step reads and leaves on the device, always in the same places:
  Tensor order_;       // i32 [train_count()]: the images of the epoch in the order of their use
  Tensor table_;       // one kernels::StepValues for each step of the epoch, as bytes
  Tensor position_;    // i64 [1]: of the next step in the epoch
  Tensor epoch_;       // i64 [1]
  Tensor mix_;         // one kernels::Mix, where images are mixed
  Tensor images_;      // i32 [largest batch]: those of the step
  Tensor loss_;        // [1]
  Tensor losses_;      // [steps per epoch]: each step's loss of the epoch in progress
  StepGraphs graphs_;  // by size of the batch
  bool told_refusal_ = false;

  std::int64_t seen_steps_ = 0;   // those whose loss was read
  Tensor guard_;                  // with --temperature-guard: one kernels::GuardState, as f64 [5]
  double temperature_ = 1;        // of the last step of the last epoch
  const Stage* stage_ = nullptr;  // that the optimizer is set to
  SpeedMeter speed_;
  double epoch_speed_ = 0;  // images per second of the epoch just trained
  double evaluation_seconds_ = 0;
  RunObserver* observer_ = nullptr;
  kernels::ClassificationTotals told_totals_;  // of the epoch in progress, when the observer was told last

  Snapshot snapshot_;          // that is being written
  std::future<void> writing_;  // last, so that it ends before the rest does
};

/// What the recipe, the data and the position of a stored run are, without its tensors.
struct StoredRun {
  Recipe recipe;  ///< without data and init
  std::string data_fingerprint;
  std::int64_t finished_steps = 0;
  std::int64_t steps_per_epoch = 0;

  std::int64_t total_steps() const { return steps_per_epoch * recipe.epochs; }
};
/// @throws Error naming `source` for a file that is no run's, and for a recipe or a position that no run has.
StoredRun stored_run(const SafetensorsFile& file, const std::string& source);

}  // namespace omniconv
