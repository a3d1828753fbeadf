#include "apps/model_options.h"

#include "apps/training/options.h"

namespace omniconv {

void add_model_options(CLI::App& command, ModelWords& words,
                       std::vector<std::pair<std::string, const CLI::Option*>>& options) {
  std::string names;
  for (const std::string& name : model_names()) names += (names.empty() ? "" : ", ") + name;
  ModelConfig& config = words.config;
  const auto keep = [&](const char* key, CLI::Option* option) { options.emplace_back(key, option); };
  keep("model", command.add_option("--model", config.model, "One of " + names));
  keep("width", command.add_option("--width", config.width, "Channels of the first layer, a multiple of 8"));
  keep("kernels", command.add_option("--kernels", config.kernels, "Kernels K of an ODConv (1 for static models)"));
  keep("reduction", command.add_option("--reduction", config.reduction, "Width of the attention over its input's"));
  keep("downsample", command.add_option("--downsample", words.downsample, "1x1 shortcut convolutions: odconv, static"));
  keep("attention_norm", command.add_option("--attention-norm", words.attention_norm,
                                            "Norm of the attention trunk: batch, frozen, layer"));
  keep("attention_init",
       command.add_option("--attention-init", words.attention_init, "Heads of the attention start as: kaiming, zero"));
}

ModelConfig parse_model(const ModelWords& words) {
  ModelConfig config = words.config;
  config.downsample = parse_downsample(words.downsample);
  config.attention_norm = parse_attention_norm(words.attention_norm);
  config.attention_init = parse_attention_init(words.attention_init);
  return config;
}

std::optional<double> parse_constant_temperature(std::string_view where, const std::string& word) {
  if (word.empty()) return std::nullopt;
  const TemperatureSchedule schedule = parse_temperature(word);
  if (schedule.epochs != 0)
    throw UsageError(concat('[', where, "] expected --temperature with one number, got ", word));
  return schedule.end;
}

}  // namespace omniconv
