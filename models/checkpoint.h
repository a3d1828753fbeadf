// A model as a file, and a model from a file.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "engine/safetensors.h"
#include "models/resnet.h"

namespace omniconv {

/// What `last.safetensors` and `best.safetensors` hold: the model's state alone, with its configuration and the
/// temperature it was evaluated at as metadata.
SafetensorsFile model_file(const Model& model, double temperature);
/// Its metadata alone.
std::map<std::string, std::string> model_metadata(const ModelConfig& config, double temperature);

struct LoadedModel {
  std::unique_ptr<Model> model;
  double temperature = 1;  ///< the file's, 1 where it names none
};

/// A model's file, its tensors named without a leading `module.`, and the model that it holds.
struct Checkpoint {
  std::string path;
  SafetensorsFile file;
  ModelConfig config;
};

/// @throws Error naming the file, if it is a run's or no model's.
Checkpoint read_checkpoint(const std::string& path);

/// The model that the checkpoint at `path` holds, computing in `precision`. @throws Error naming the file and the cause.
LoadedModel load_model(const std::string& path, DType precision);

}  // namespace omniconv
