#include "apps/training/checkpoint.h"

#include "apps/training/options.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "checkpoint";

}  // namespace

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

void load_weights(const std::string& path, Model& model) {
  const SafetensorsFile file = read_model_file(path);
  const ModelConfig& asked = model.config;
  ModelConfig stored = config_from_file(file.tensors, file.metadata, path);
  // What shapes do not show is the new run's own affair; a reduction shows in shapes that load_state compares.
  stored.attention_norm = asked.attention_norm;
  stored.attention_init = asked.attention_init;
  stored.reduction = asked.reduction;
  stored.class_names = asked.class_names;
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
