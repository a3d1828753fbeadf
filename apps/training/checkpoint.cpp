#include "apps/training/checkpoint.h"

#include <charconv>

#include "apps/training/options.h"
#include "engine/files.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "checkpoint";

/// A model's file, not a run's; tensor names without `module.`.
SafetensorsFile read_model_file(const std::string& path) {
  SafetensorsFile file = read_safetensors(path);
  const auto kind = file.metadata.find("kind");
  expect(kind == file.metadata.end() || kind->second != "run", where, path,
         ": expected a model's checkpoint, got what a run is resumed from: take last.safetensors or best.safetensors "
         "beside it");
  file.tensors = without_module_prefix(std::move(file.tensors));
  return file;
}

double stored_temperature(const SafetensorsFile& file, const std::string& path) {
  const auto found = file.metadata.find("temperature");
  if (found == file.metadata.end()) return 1;
  try {
    const TemperatureSchedule schedule = parse_temperature(found->second);
    if (schedule.epochs == 0) return schedule.end;
  } catch (const UsageError&) {
  }
  fail(where, path, ": expected a temperature above 0 in the metadata, got ", in_quotes(found->second));
}

}  // namespace

std::string exact_text(double value) {
  char text[32];
  const auto [end, error] = std::to_chars(std::begin(text), std::end(text), value);
  return {text, end};
}

std::string describe(const ModelConfig& config) {
  std::string text = concat(config.model, ", width ", config.width);
  if (config.dynamic()) {
    text += concat(", K = ", config.kernels);
    if (config.downsample == Downsample::fixed) text += ", static down-sampling";
    if (config.reduction != ModelConfig{}.reduction) text += concat(", reduction ", config.reduction);
  }
  if (config.folded) text += ", folded";
  return config.classes == ModelConfig{}.classes ? text : concat(text, ", ", config.classes, " classes");
}

SafetensorsFile model_file(const Model& model, double temperature) {
  SafetensorsFile file{model.store.state(), to_metadata(model.config)};
  file.metadata["format"] = "pt";  // names and layouts are PyTorch's
  file.metadata["kind"] = "model";
  file.metadata["temperature"] = exact_text(temperature);
  return file;
}

LoadedModel load_model(const std::string& path, DType dtype) {
  const SafetensorsFile file = read_model_file(path);
  const ModelConfig config = config_from_file(file.tensors, file.metadata, path);
  LoadedModel loaded{std::make_unique<Model>(config, 0, dtype), stored_temperature(file, path)};
  loaded.model->store.load_state(file.tensors, path);
  loaded.model->set_temperature(loaded.temperature);
  return loaded;
}

void load_weights(const std::string& path, Model& model) {
  const SafetensorsFile file = read_model_file(path);
  const ModelConfig& asked = model.config;
  ModelConfig stored = config_from_file(file.tensors, file.metadata, path);
  // What shapes do not show is the new run's own affair; a reduction shows in shapes that load_state compares.
  stored.attention_norm = asked.attention_norm;
  stored.attention_init = asked.attention_init;
  stored.reduction = asked.reduction;
  if (!stored.dynamic()) stored.downsample = asked.downsample;
  expect(stored.folded == asked.folded, where, path,
         ": expected a checkpoint with batch norms, got a folded one: take the checkpoint that was folded");
  if (stored != asked) {
    std::string remedy = "--model " + stored.model;
    if (stored.width != asked.width) remedy += concat(" --width ", stored.width);
    if (stored.dynamic() && stored.kernels != asked.kernels) remedy += concat(" --kernels ", stored.kernels);
    if (stored.dynamic() && stored.downsample != asked.downsample)
      remedy += concat(" --downsample ", name_of(stored.downsample));
    if (stored.classes != asked.classes) remedy = concat("take data of ", stored.classes, " classes");
    fail(where, path, ": expected ", describe(asked), ", got a file that looks like ", describe(stored), ": give ",
         remedy, " or another file");
  }
  model.store.load_state(file.tensors, path);
}

}  // namespace omniconv
