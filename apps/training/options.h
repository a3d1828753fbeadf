// What a run is asked to do: the recipe, which determines its numbers, and how one call carries it out.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/schedule.h"
#include "models/resnet.h"

namespace omniconv {

/// How the learning rate falls over the epochs.
enum class LearningRateSchedule { cosine, step };

/// Everything that determines a run's numbers; config.json holds it, and a resumed run keeps it.
struct Recipe {
  std::string data;  ///< folder of a CIFAR-10 binary data set, or "synthetic"
  std::string init;  ///< checkpoint whose weights the run starts from, or nothing
  std::optional<double> inflate_noise;  ///< of a static checkpoint inflated into a dynamic model: sets kernels apart
  ModelConfig model;
  std::int64_t epochs = 200;
  std::int64_t batch_size = 128;
  double lr = 0.1;
  LearningRateSchedule lr_schedule = LearningRateSchedule::cosine;
  std::vector<std::int64_t> lr_milestones;  ///< finished epochs after which `step` multiplies by lr_factor
  double lr_factor = 0.1;
  double momentum = 0.9;
  double weight_decay = 5e-4;
  bool nesterov = false;
  TemperatureSchedule temperature;
  std::int64_t seed = 0;
  bool augment = true;
  bool shuffle = true;
  DType precision = DType::f32;

  friend bool operator==(const Recipe&, const Recipe&) = default;
};

/// A `train` call: the recipe and what changes none of its numbers.
struct TrainOptions {
  Recipe recipe;
  std::set<std::string> given;            ///< keys of the recipe's JSON that the call named itself
  std::string out;                        ///< run folder; empty: a new one under runs/
  std::string resume;                     ///< run folder to continue; empty: a new run
  std::optional<std::int64_t> max_steps;  ///< optimizer steps of the run at which this call stops
  std::optional<std::int64_t> threads;
  bool log_steps = false;
  bool json = false;
};

/// @throws UsageError for another word.
LearningRateSchedule parse_learning_rate_schedule(std::string_view text);
Downsample parse_downsample(std::string_view text);
DType parse_precision(std::string_view text);
/// What --help says of --precision.
inline constexpr const char* precision_help =
    "Type of activations: f32, bf16, f16 (both with f32 weights; f16 scales the loss), f64";
std::string_view name_of(LearningRateSchedule schedule);
std::string_view name_of(Downsample downsample);

/// @throws UsageError for a value that no run could have, or values that contradict each other.
void check(const Recipe& recipe);
void check(const TrainOptions& options);
/// @throws UsageError unless `threads` is absent or a number of threads the engine takes.
void check_threads(const std::optional<std::int64_t>& threads);

/// Learning rate of the epoch that follows `finished_epochs` finished ones.
double learning_rate_at(const Recipe& recipe, std::int64_t finished_epochs);

/// The recipe as config.json holds it, and back. @throws Error naming `source` and the first key that does not fit.
nlohmann::json to_json(const Recipe& recipe);
Recipe recipe_from_json(const nlohmann::json& json, const std::string& source);

/// "--epochs 5 instead of 8" for every key in `keys` whose value differs between what was asked and what the run has.
std::vector<std::string> differences(const Recipe& asked, const Recipe& run, const std::set<std::string>& keys);

}  // namespace omniconv
