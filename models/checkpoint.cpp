#include "models/checkpoint.h"

#include "engine/files.h"
#include "engine/number_text.h"
#include "engine/schedule.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "checkpoint";

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

Checkpoint read_checkpoint(const std::string& path) {
  Checkpoint checkpoint{path, read_safetensors(path), {}};
  SafetensorsFile& file = checkpoint.file;
  const auto kind = file.metadata.find("kind");
  expect(kind == file.metadata.end() || kind->second != "run", where, path,
         ": expected a model's checkpoint, got what a run is resumed from: take last.safetensors or best.safetensors "
         "beside it");
  file.tensors = without_module_prefix(std::move(file.tensors));
  checkpoint.config = config_from_file(file.tensors, file.metadata, path);
  return checkpoint;
}

std::map<std::string, std::string> model_metadata(const ModelConfig& config, double temperature) {
  std::map<std::string, std::string> metadata = to_metadata(config);
  metadata["format"] = "pt";  // names and layouts are PyTorch's
  metadata["kind"] = "model";
  metadata["temperature"] = number_text(temperature);
  return metadata;
}

SafetensorsFile model_file(const Model& model, double temperature) {
  return {model.store.state(), model_metadata(model.config, temperature)};
}

LoadedModel load_model(const std::string& path, DType precision) {
  const Checkpoint checkpoint = read_checkpoint(path);
  const std::string source =
      concat(path, " (looks like ", checkpoint.config.model, " of width ", checkpoint.config.width, ")");
  LoadedModel loaded{std::make_unique<Model>(checkpoint.config, checkpoint.file.tensors, source, precision),
                     stored_temperature(checkpoint.file, path)};
  loaded.model->set_temperature(loaded.temperature);
  return loaded;
}

}  // namespace omniconv
