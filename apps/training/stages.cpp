#include "apps/training/stages.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "apps/training/json_text.h"
#include "apps/training/require.h"
#include "apps/training/text.h"
#include "engine/files.h"

namespace omniconv {
namespace {

constexpr const char* neutral = "neutral";

TemperatureSchedule temperature_from(const nlohmann::json& json) {
  if (json == neutral) return {neutral_temperature, neutral_temperature, 0};
  return parse_temperature(json.is_number() ? json.dump() : json.get<std::string>());
}

Stage stage_from(const nlohmann::json& json) {
  static const std::set<std::string> keys = {"name", "epochs", "train", "temperature", "lr_factor"};
  require(json.is_object(), "an object for each stage, got ", json.dump());
  for (const auto& [key, value] : json.items())
    require(keys.contains(key), "name, epochs, train, temperature and lr_factor in a stage, got ", in_quotes(key));
  Stage stage;
  try {
    json.at("name").get_to(stage.name);
    require(json.at("epochs").is_number_integer(), "a whole number of epochs in stage ", stage.name, ", got ",
            json.at("epochs").dump());
    json.at("epochs").get_to(stage.epochs);
    stage.temperature = temperature_from(json.at("temperature"));
    if (json.contains("train")) stage.train = parse_trained_part(json["train"].get<std::string>());
    if (json.contains("lr_factor")) json["lr_factor"].get_to(stage.lr_factor);
  } catch (const nlohmann::json::exception& error) {
    throw UsageError(concat("[options] expected name, epochs and temperature in every stage, got: ", error.what()));
  }
  return stage;
}

}  // namespace

TrainedPart parse_trained_part(std::string_view text) {
  for (const TrainedPart part : {TrainedPart::all, TrainedPart::weights, TrainedPart::attention})
    if (text == name_of(part)) return part;
  throw UsageError(concat("[options] expected a stage to train all, weights or attention, got ", in_quotes(text)));
}

std::string_view name_of(TrainedPart part) {
  switch (part) {
    case TrainedPart::all:
      return "all";
    case TrainedPart::weights:
      return "weights";
    case TrainedPart::attention:
      return "attention";
  }
  return "unknown";
}

std::vector<Stage> progressive_stages(std::int64_t epochs, const TemperatureSchedule& temperature) {
  require(epochs >= 3, "at least 3 --epochs for --stages progressive, got ", epochs);
  const std::int64_t quarter = std::max<std::int64_t>(1, epochs / 4);
  const TemperatureSchedule hot{temperature.start, temperature.start, 0};
  TemperatureSchedule fall = temperature;
  if (fall.epochs > 0) fall.epochs = quarter;
  return {{"neutral", quarter, TrainedPart::weights, {neutral_temperature, neutral_temperature, 0}, 1},
          {"joint", epochs - 2 * quarter, TrainedPart::all, hot, 1},
          {"attention", quarter, TrainedPart::attention, fall, 1}};
}

nlohmann::json to_json(const std::vector<Stage>& stages) {
  nlohmann::json list = nlohmann::json::array();
  for (const Stage& stage : stages) {
    const TemperatureSchedule& t = stage.temperature;
    const bool is_neutral = t.epochs == 0 && t.end == neutral_temperature;
    list.push_back({{"name", stage.name},
                    {"epochs", stage.epochs},
                    {"train", name_of(stage.train)},
                    {"temperature", is_neutral ? neutral : format_temperature(t)},
                    {"lr_factor", stage.lr_factor}});
  }
  return list;
}

std::vector<Stage> stages_from_json(const nlohmann::json& json) {
  require(json.is_array(), "a list of stages, got ", json.dump());
  std::vector<Stage> stages;
  for (const nlohmann::json& each : json) stages.push_back(stage_from(each));
  return stages;
}

std::vector<Stage> read_stages(const std::string& path) {
  const auto json = parse_json(read_text("stages", path));
  expect(!json.is_discarded(), "stages", path, ": expected stages of a run, got other text");
  try {
    std::vector<Stage> stages = stages_from_json(json);
    require(!stages.empty(), "at least one stage, got an empty list");
    check(stages);
    return stages;
  } catch (const UsageError& error) {
    fail("stages", path, ": expected stages of a run, got ones where ", error.what());
  }
}

void check(const std::vector<Stage>& stages) {
  std::set<std::string> names;
  for (const Stage& stage : stages) {
    require(!stage.name.empty() && names.insert(stage.name).second, "stages of different names, got ",
            in_quotes(stage.name), " twice or empty");
    // They go to terminals, again and again on a line that is redrawn.
    require(one_line(stage.name) == stage.name, "names of stages without control characters, got ",
            in_quotes(stage.name));
    require(stage.epochs >= 1 && stage.epochs <= most_epochs, "1 to ", most_epochs, " epochs in stage ", stage.name,
            ", got ", stage.epochs);
    require(std::isfinite(stage.lr_factor) && stage.lr_factor >= 0, "a finite lr_factor of at least 0 in stage ",
            stage.name, ", got ", stage.lr_factor);
  }
}

std::int64_t epochs_of(const std::vector<Stage>& stages) {
  std::int64_t sum = 0;
  for (const Stage& stage : stages) sum += stage.epochs;
  return sum;
}

StagePosition stage_at(const std::vector<Stage>& stages, std::int64_t finished_steps, std::int64_t steps_per_epoch) {
  StagePosition position;
  while (position.index + 1 < stages.size()) {
    const std::int64_t end = position.steps_before + stages[position.index].epochs * steps_per_epoch;
    if (finished_steps < end) break;
    position.steps_before = end;
    ++position.index;
  }
  return position;
}

}  // namespace omniconv
