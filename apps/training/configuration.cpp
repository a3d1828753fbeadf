#include "apps/training/configuration.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/training/json_text.h"
#include "apps/training/require.h"
#include "apps/training/run_folder.h"
#include "engine/files.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "config";

struct Preset {
  std::string name;
  nlohmann::json values;
};

const std::vector<Preset>& presets() {
  static const std::vector<Preset> all = {
      {"article",
       {{"epochs", 200},
        {"batch_size", 128},
        {"lr", 0.1},
        {"lr_schedule", "cosine"},
        {"momentum", 0.9},
        {"weight_decay", 5e-4},
        {"temperature", "30:1:10"},
        {"attention_init", "kaiming"}}},
      // Heads that start at zero learn at T = 1 from the first step, and no fall of T can undo what they learned.
      {"strong",
       {{"epochs", 200},
        {"lr", 0.1},
        {"warmup", 5},
        {"nesterov", true},
        {"no_decay", {"bn", "bias"}},
        {"label_smoothing", 0.1},
        {"cutmix", 1},
        {"ema", 0.999},
        {"temperature", "1"},
        {"attention_init", "zero"}}},
      {"fast",
       {{"epochs", 20},
        {"lr", 0.1},
        {"warmup", 2},
        {"nesterov", true},
        {"no_decay", {"bn", "bias"}},
        {"label_smoothing", 0.1},
        {"flip", "alternating"},
        {"ema", 0.99},
        {"temperature", "1"},
        {"attention_init", "zero"}}},
  };
  return all;
}

/// The keys of config.json; a file that a run wrote has RunFolder::program_key besides.
nlohmann::json read_config(const std::string& path) {
  nlohmann::json json = parse_json(read_text(where, path));
  expect(json.is_object(), where, path, ": expected an object with keys of config.json, got other text");
  expect(!json.contains(RunFolder::program_key) || json[RunFolder::program_key] == RunFolder::program_name, where, path,
         ": expected the configuration of omniconv train, got another program's");
  const nlohmann::json known = to_json(Recipe{});
  for (const auto& [key, value] : json.items())
    expect(known.contains(key) || key == RunFolder::program_key, where, path, ": expected keys of config.json, got ",
           in_quotes(key), ": the keys are the options of omniconv train, with _ for -");
  return json;
}

/// Takes over what is not given yet, and counts it as given.
void fill_in(const nlohmann::json& values, const std::string& source, TrainOptions& options) {
  nlohmann::json added = nlohmann::json::object();
  for (const auto& [key, value] : values.items()) {
    if (key == "init" && !options.resume.empty()) continue;  // a run that goes on has its weights already
    if (options.given.insert(key).second) added[key] = value;
  }
  take_over(added, source, options.recipe);
}

void apply_stages(TrainOptions& options, const Recipe* run) {
  Recipe& recipe = options.recipe;
  const bool epochs_given = options.given.contains("epochs"), temperature_given = options.given.contains("temperature");
  options.given.insert("stages");
  if (options.stages != "progressive") {
    require(!temperature_given, "the temperatures in ", options.stages, ", got --temperature as well");
    recipe.stages = read_stages(options.stages);
    if (!epochs_given) recipe.epochs = epochs_of(recipe.stages);
    return;
  }
  // Where the call does not say otherwise, the values under which attention keeps what was learned
  // (docs/temperature.md): heads that start at zero, and a short fall that is slow where much depends on it.
  if (run == nullptr && options.given.insert("attention_init").second)
    recipe.model.attention_init = AttentionInit::zero;
  if (!temperature_given)
    recipe.temperature = run ? run->temperature : TemperatureSchedule{4, 1, 1, TemperatureShape::harmonic};
  recipe.stages = progressive_stages(epochs_given || run == nullptr ? recipe.epochs : run->epochs, recipe.temperature);
}

/// What nobody named follows from the model and its stem, which may have come from the file.
void settle_model(const std::set<std::string>& given, ModelConfig& model) {
  const ModelConfig usual = default_config(model.model, model.stem);
  if (!given.contains("kernels")) model.kernels = usual.kernels;
  if (!given.contains("downsample")) model.downsample = usual.downsample;
  if (!given.contains("classes")) model.classes = usual.classes;
  if (!given.contains("image_size")) model.image_size = usual.image_size;
  if (!given.contains("dropout")) model.dropout = usual.dropout;
}

}  // namespace

const std::vector<std::string>& recipe_presets() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const Preset& preset : presets()) result.push_back(preset.name);
    return result;
  }();
  return names;
}

nlohmann::json recipe_preset(const std::string& name) {
  for (const Preset& preset : presets())
    if (preset.name == name) return preset.values;
  throw UsageError(concat("[options] expected --recipe ", joined(recipe_presets(), ", "), ", got ", in_quotes(name)));
}

void apply_configuration(TrainOptions& options, const Recipe* run) {
  std::set<std::string> named = options.given;
  // The file is stronger than the preset, so it goes first: what it names is given then.
  if (!options.config.empty()) {
    nlohmann::json values = read_config(options.config);
    // A file that a run wrote names every key, whether the run had a use for it or not.
    const bool by_hand = values.erase(RunFolder::program_key) == 0;
    if (by_hand)
      for (const auto& [key, value] : values.items()) named.insert(key);
    fill_in(values, options.config, options);
    settle_model(options.given, options.recipe.model);
  }
  if (!options.preset.empty()) fill_in(recipe_preset(options.preset), "--recipe", options);
  if (!options.stages.empty()) apply_stages(options, run);
  if (run == nullptr) check_uses(named, options.recipe);
}

}  // namespace omniconv
