#include "apps/model_options.h"

#include "apps/training/options.h"
#include "engine/usage.h"

namespace omniconv {

void add_model_options(CLI::App& command, ModelWords& words,
                       std::vector<std::pair<std::string, const CLI::Option*>>& options) {
  const auto keep = [&](const char* key, CLI::Option* option) { options.emplace_back(key, option); };
  keep("model", command.add_option("--model", words.model, "One of " + model_names()));
  keep("stem",
       command.add_option("--stem", words.stem,
                          "First layers: cifar (3x3), imagenet (7x7 of stride 2, max-pool; the official form)"));
  keep("width", command.add_option("--width", words.width, "Channels of the first layer, a multiple of 8"));
  keep("kernels", command.add_option("--kernels", words.kernels, "Kernels K of an ODConv (4; 1 for static models)"));
  keep("reduction", command.add_option("--reduction", words.reduction, "Width of the attention over its input's"));
  keep("downsample", command.add_option("--downsample", words.downsample,
                                        "1x1 shortcut convolutions: odconv (for cifar), static (for imagenet)"));
  keep("classes", command.add_option("--classes", words.classes, "Classes (those of the data, else 10 or 1000)"));
  keep("image_size", command.add_option("--image-size", words.image_size,
                                        "Height and width of images (those of the data, else 32 or 224)"));
  keep("dropout", command.add_option("--dropout", words.dropout,
                                     "Dropout before the classifier (0; 0.1 for dynamic models with stem imagenet)"));
  keep("attention_norm", command.add_option("--attention-norm", words.attention_norm,
                                            "Norm of the attention trunk: batch, frozen, layer"));
  keep("attention_init",
       command.add_option("--attention-init", words.attention_init, "Heads of the attention start as: kaiming, zero"));
}

std::set<std::string> keys_given(const std::vector<std::pair<std::string, const CLI::Option*>>& options) {
  std::set<std::string> keys;
  for (const auto& [key, option] : options)
    if (option->count() > 0) keys.insert(key);
  return keys;
}

ModelConfig parse_model(const ModelWords& words) {
  ModelConfig config = default_config(words.model, parse_stem(words.stem));
  config.width = words.width;
  config.kernels = words.kernels.value_or(config.kernels);
  config.reduction = words.reduction;
  if (words.downsample) config.downsample = parse_downsample(*words.downsample);
  config.classes = words.classes.value_or(config.classes);
  config.image_size = words.image_size.value_or(config.image_size);
  config.dropout = words.dropout.value_or(config.dropout);
  config.attention_norm = parse_attention_norm(words.attention_norm);
  config.attention_init = parse_attention_init(words.attention_init);
  return config;
}

std::optional<double> parse_constant_temperature(std::string_view where, const std::string& word) {
  if (word.empty()) return std::nullopt;
  const TemperatureSchedule schedule = parse_temperature(word);
  require_in(where, schedule.epochs == 0, "--temperature with one number, got ", word);
  return schedule.end;
}

double set_temperature(std::string_view where, const LoadedModel& loaded, const std::optional<double>& given) {
  const ModelConfig& config = loaded.model->config;
  require_in(where, config.dynamic() || given.value_or(1) == 1, "a --temperature of 1 for the static ", config.model,
             ", got ", given.value_or(1));
  loaded.model->set_temperature(given.value_or(loaded.temperature));
  return given.value_or(loaded.temperature);
}

}  // namespace omniconv
