// The options that choose a model, for every sub-command that builds or runs one.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/checkpoint.h"
#include "models/resnet.h"

namespace omniconv {

/// The options as they are written; what is absent follows from model and stem.
struct ModelWords {
  std::string model = "od_resnet18", stem = "cifar", attention_norm = "batch", attention_init = "kaiming";
  std::int64_t width = ModelConfig{}.width;
  double reduction = ModelConfig{}.reduction;
  std::optional<std::string> downsample;
  std::optional<std::int64_t> kernels, classes, image_size;
  std::optional<double> dropout;
};

/// Declares the options; each goes to `options` with its key in a recipe's JSON.
void add_model_options(CLI::App& command, ModelWords& words,
                       std::vector<std::pair<std::string, const CLI::Option*>>& options);

/// The keys of those options that the call gives.
std::set<std::string> keys_given(const std::vector<std::pair<std::string, const CLI::Option*>>& options);

/// @throws UsageError for a word that is none of an option's.
ModelConfig parse_model(const ModelWords& words);

/// --temperature of a sub-command that runs a checkpoint: one number, or nothing for an empty word.
/// @throws UsageError `[where] ...` for a schedule.
std::optional<double> parse_constant_temperature(std::string_view where, const std::string& word);

/// Sets the temperature that a call gives, else that of the checkpoint, and returns it.
/// @throws UsageError `[where] ...` for one but 1 of a static model, which has none.
double set_temperature(std::string_view where, const LoadedModel& loaded, const std::optional<double>& given);

}  // namespace omniconv
