// A run in stages: what is trained, at which temperature, one after the other.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "apps/training/parameter_groups.h"
#include "engine/schedule.h"

namespace omniconv {

/// A temperature at which every attention is neutral, to the last bit: c = f = s = 1/2 and p = 1/K, whatever the
/// logits.
inline constexpr double neutral_temperature = 1e20;

struct Stage {
  std::string name;
  std::int64_t epochs = 1;
  TrainedPart train = TrainedPart::all;
  TemperatureSchedule temperature;  ///< counted from the stage's first step
  double lr_factor = 1;             ///< of the run's learning rate

  friend bool operator==(const Stage&, const Stage&) = default;
};

inline constexpr std::int64_t most_epochs = 1'000'000;  ///< of a stage or a run

/// "all", "weights", "attention". @throws UsageError for another word.
TrainedPart parse_trained_part(std::string_view text);
std::string_view name_of(TrainedPart part);

/// The preset `progressive` over `epochs` epochs: a quarter with neutral attention and its parameters at rest, half of
/// joint training at the start of `temperature`, a quarter in which the attention alone is trained while the
/// temperature goes from its start to its end. @throws UsageError for fewer than 3 epochs.
std::vector<Stage> progressive_stages(std::int64_t epochs, const TemperatureSchedule& temperature);

/// A list of objects with "name", "epochs", "temperature" ("30:1:10", a number, or "neutral"), and, where it is not
/// "all" or 1, "train" and "lr_factor"; and back. @throws UsageError for what is no such list.
nlohmann::json to_json(const std::vector<Stage>& stages);
std::vector<Stage> stages_from_json(const nlohmann::json& json);
/// The same from a file. @throws Error naming it.
std::vector<Stage> read_stages(const std::string& path);

/// @throws UsageError unless names differ and are a line of text, and epochs and factors are ones that a run could
/// have.
void check(const std::vector<Stage>& stages);
std::int64_t epochs_of(const std::vector<Stage>& stages);

/// Where a run is: a stage, and the steps that were finished before it.
struct StagePosition {
  std::size_t index = 0;
  std::int64_t steps_before = 0;
};
/// The stage of the step that follows `finished_steps` finished ones; the last one beyond the end.
StagePosition stage_at(const std::vector<Stage>& stages, std::int64_t finished_steps, std::int64_t steps_per_epoch);

}  // namespace omniconv
