// A run's recipe: everything that determines its numbers.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "apps/training/mixing.h"
#include "apps/training/stages.h"
#include "engine/schedule.h"
#include "kernels/augment.h"
#include "models/resnet.h"

namespace omniconv {

/// How the learning rate falls over the epochs.
enum class LearningRateSchedule { cosine, step };

/// config.json holds it, and a resumed run keeps it.
struct Recipe {
  std::string data;                     ///< folder of a CIFAR-10 binary data set, or "synthetic"
  std::string init;                     ///< checkpoint whose weights the run starts from, or nothing
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
  std::int64_t warmup = 0;  ///< epochs over which the learning rate rises to its schedule, step by step
  double label_smoothing = 0;
  double clip_norm = 0;               ///< of the gradients, 0: as large as they are
  std::vector<std::string> no_decay;  ///< kinds of parameters without weight decay: "bn", "bias"
  double ema = 0;                     ///< decay of the average of the weights that is evaluated and kept, 0: none
  std::int64_t accumulate = 1;        ///< parts in which a step's batch is computed
  TemperatureSchedule temperature;
  bool temperature_guard = false;  ///< the temperature stands still while the training loss jumps
  std::vector<Stage> stages;       ///< with temperatures of their own; none: one stage that trains everything
  std::int64_t validation = 0;     ///< training images that are held out to choose the best epoch by
  bool stratified = false;         ///< as many of every class
  std::int64_t test_every = 0;     ///< epochs between two looks at the test set, with validation; 0: at the end alone
  std::int64_t seed = 0;
  bool augment = true;
  kernels::Flip flip = kernels::Flip::random;
  std::int64_t cutout = 0;  ///< side of the square, 0: none
  Mixing mixing;
  bool shuffle = true;
  DType precision = DType::f32;
  bool autotune = false;  ///< plans of the dynamic convolutions by measurement; resume.safetensors keeps them

  friend bool operator==(const Recipe&, const Recipe&) = default;
};

/// @throws UsageError for another word.
LearningRateSchedule parse_learning_rate_schedule(std::string_view text);
kernels::Flip parse_flip(std::string_view text);
DType parse_precision(std::string_view text);
/// What --help says of --precision.
inline constexpr const char* precision_help =
    "Type of activations: f32, bf16, f16 (both with f32 weights; f16 scales the loss), f64";
std::string_view name_of(LearningRateSchedule schedule);
std::string_view name_of(kernels::Flip flip);

/// @throws UsageError for a value that no run could have, or values that contradict each other.
void check(const Recipe& recipe);

/// Learning rate of the step that follows `finished_steps` finished ones: that of its epoch, in the warm-up times the
/// part of it that is done with this step.
double learning_rate_at(const Recipe& recipe, std::int64_t finished_steps, std::int64_t steps_per_epoch);

/// Temperature of the step that follows `finished_steps` finished ones.
double temperature_at(const Recipe& recipe, std::int64_t finished_steps, std::int64_t steps_per_epoch);

/// The stage of that step, or nullptr for a run without.
const Stage* stage_of(const Recipe& recipe, std::int64_t finished_steps, std::int64_t steps_per_epoch);

/// The recipe as config.json holds it, and back. @throws Error naming `source` and the first key that does not fit.
nlohmann::json to_json(const Recipe& recipe);
/// Its part about the model.
nlohmann::json to_json(const ModelConfig& model);
Recipe recipe_from_json(const nlohmann::json& json, const std::string& source);

/// Takes over the values of those keys that `json` has, without check(): they may still contradict each other.
void take_over(const nlohmann::json& json, const std::string& source, Recipe& recipe);

/// "--epochs 5 instead of 8" for every key in `keys` whose value differs between what was asked and what the run has.
std::vector<std::string> differences(const Recipe& asked, const Recipe& run, const std::set<std::string>& keys);

}  // namespace omniconv
