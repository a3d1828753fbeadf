// The recipe as config.json holds it. Each field is listed once, for both directions.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "apps/training/recipe.h"
#include "apps/training/require.h"
#include "engine/files.h"

namespace omniconv {
namespace {

/// "weight_decay" -> "--weight-decay"; what is switched off on the command line carries its own name there.
std::string option_name(const std::string& key) {
  if (key == "augment" || key == "shuffle") return "--no-" + key;
  std::string name = "--" + key;
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string option_value(const std::string& key, const nlohmann::json& value) {
  if (value.is_boolean()) return value.get<bool>() != (key == "augment" || key == "shuffle") ? "on" : "off";
  if (value == "") return "none";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

/// Calls `visit(key, field)` for every field of a model that a recipe chooses, const or not.
template <class AnyModel, class Visit>
void for_each_model_field(AnyModel& model, const Visit& visit) {
  visit("model", model.model);
  visit("width", model.width);
  visit("kernels", model.kernels);
  visit("reduction", model.reduction);
  visit("downsample", model.downsample);
  visit("classes", model.classes);
  visit("attention_norm", model.attention_norm);
  visit("attention_init", model.attention_init);
  visit("stem", model.stem);
  visit("image_size", model.image_size);
  visit("dropout", model.dropout);
}

/// The same for every field of a recipe.
template <class AnyRecipe, class Visit>
void for_each_field(AnyRecipe& recipe, const Visit& visit) {
  visit("data", recipe.data);
  visit("init", recipe.init);
  visit("inflate_noise", recipe.inflate_noise);
  for_each_model_field(recipe.model, visit);
  visit("epochs", recipe.epochs);
  visit("batch_size", recipe.batch_size);
  visit("lr", recipe.lr);
  visit("lr_schedule", recipe.lr_schedule);
  visit("lr_milestones", recipe.lr_milestones);
  visit("lr_factor", recipe.lr_factor);
  visit("momentum", recipe.momentum);
  visit("weight_decay", recipe.weight_decay);
  visit("nesterov", recipe.nesterov);
  visit("warmup", recipe.warmup);
  visit("label_smoothing", recipe.label_smoothing);
  visit("clip_norm", recipe.clip_norm);
  visit("no_decay", recipe.no_decay);
  visit("ema", recipe.ema);
  visit("accumulate", recipe.accumulate);
  visit("temperature", recipe.temperature);
  visit("temperature_guard", recipe.temperature_guard);
  visit("stages", recipe.stages);
  visit("validation", recipe.validation);
  visit("stratified", recipe.stratified);
  visit("test_every", recipe.test_every);
  visit("seed", recipe.seed);
  visit("augment", recipe.augment);
  visit("flip", recipe.flip);
  visit("cutout", recipe.cutout);
  visit("mixup", recipe.mixing.mixup);
  visit("cutmix", recipe.mixing.cutmix);
  visit("shuffle", recipe.shuffle);
  visit("precision", recipe.precision);
  visit("autotune", recipe.autotune);
}

/// Words and texts for what is neither a number, a list nor a text.
template <class T>
nlohmann::json encode(const T& value) {
  if constexpr (std::is_enum_v<T>)
    return name_of(value);
  else if constexpr (std::is_same_v<T, TemperatureSchedule>)
    return format_temperature(value);
  else if constexpr (std::is_same_v<T, std::vector<Stage>>)
    return to_json(value);
  else if constexpr (std::is_same_v<T, std::optional<double>>)
    return value ? nlohmann::json(*value) : nlohmann::json();
  else
    return value;
}

LearningRateSchedule decode(std::string_view text, LearningRateSchedule) {
  return parse_learning_rate_schedule(text);
}
kernels::Flip decode(std::string_view text, kernels::Flip) {
  return parse_flip(text);
}
Downsample decode(std::string_view text, Downsample) {
  return parse_downsample(text);
}
AttentionNorm decode(std::string_view text, AttentionNorm) {
  return parse_attention_norm(text);
}
AttentionInit decode(std::string_view text, AttentionInit) {
  return parse_attention_init(text);
}
Stem decode(std::string_view text, Stem) {
  return parse_stem(text);
}
DType decode(std::string_view text, DType) {
  return parse_precision(text);
}
TemperatureSchedule decode(std::string_view text, const TemperatureSchedule&) {
  return parse_temperature(text);
}

template <class T>
void decode_into(const char* key, const nlohmann::json& json, T& field) {
  if constexpr (requires { decode(std::string_view{}, field); })
    field = decode(json.get<std::string>(), field);
  else if constexpr (std::is_same_v<T, std::vector<Stage>>)
    field = stages_from_json(json);
  else if constexpr (std::is_same_v<T, std::optional<double>>) {
    field.reset();
    if (!json.is_null()) decode_into(key, json, field.emplace());
  } else {
    json.get_to(field);
    // The library takes 2.5 for 2, in lists too.
    require(nlohmann::json(field) == json, "another type of value for ", key, ", got ", json.dump());
  }
}

}  // namespace

nlohmann::json to_json(const ModelConfig& model) {
  nlohmann::json json;
  for_each_model_field(model, [&](const char* key, const auto& field) { json[key] = encode(field); });
  return json;
}

nlohmann::json to_json(const Recipe& recipe) {
  nlohmann::json json;
  for_each_field(recipe, [&](const char* key, const auto& field) { json[key] = encode(field); });
  return json;
}

void take_over(const nlohmann::json& json, const std::string& source, Recipe& recipe) {
  try {
    for_each_field(recipe, [&](const char* key, auto& field) {
      if (json.contains(key)) decode_into(key, json[key], field);
    });
  } catch (const UsageError& error) {
    fail("config", source, ": expected the configuration of a run, got one where ", error.what());
  } catch (const nlohmann::json::exception& error) {
    fail("config", source, ": expected the configuration of a run, got: ", error.what());
  }
}

Recipe recipe_from_json(const nlohmann::json& json, const std::string& source) {
  Recipe recipe;
  for_each_field(recipe, [&](const char* key, const auto&) {
    expect(json.contains(key), "config", source, ": expected the configuration of a run, got one without ", key);
  });
  take_over(json, source, recipe);
  try {
    check(recipe);
  } catch (const UsageError& error) {
    fail("config", source, ": expected the configuration of a run, got one where ", error.what());
  }
  return recipe;
}

std::vector<std::string> differences(const Recipe& asked, const Recipe& run, const std::set<std::string>& keys) {
  const nlohmann::json asked_values = to_json(asked), run_values = to_json(run);
  std::vector<std::string> found;
  for (const std::string& key : keys) {
    if (asked_values.at(key) == run_values.at(key)) continue;
    found.push_back(concat(option_name(key), ' ', option_value(key, asked_values.at(key)), " instead of ",
                           option_value(key, run_values.at(key))));
  }
  return found;
}

}  // namespace omniconv
