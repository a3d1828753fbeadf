#include "apps/training/checkpoint.h"

#include "apps/training/options.h"
#include "models/inflate.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "checkpoint";

using Tensors = std::map<std::string, HostTensor>;

}  // namespace

void load_weights(const Checkpoint& checkpoint, Model& model, double inflate_noise) {
  const Tensors& tensors = checkpoint.file.tensors;
  ModelConfig stored = checkpoint.config;
  const bool inflates = model.config.dynamic() && !stored.dynamic();
  const ModelConfig asked = inflates ? static_config(model.config) : model.config;
  // What shapes do not show is the new run's own affair; a reduction shows in shapes that load_state compares.
  stored.attention_norm = asked.attention_norm;
  stored.attention_init = asked.attention_init;
  stored.reduction = asked.reduction;
  stored.image_size = asked.image_size;
  stored.dropout = asked.dropout;
  stored.class_names = asked.class_names;
  if (!stored.dynamic()) stored.downsample = asked.downsample;
  expect(stored.folded == asked.folded, where, checkpoint.path,
         ": expected a checkpoint with batch norms, got a folded one: take the checkpoint that was folded");
  if (stored != asked) {
    std::string remedy = concat("--model ", inflates ? "od_" : "", stored.model);
    if (stored.stem != asked.stem) remedy += concat(" --stem ", name_of(stored.stem));
    if (stored.width != asked.width) remedy += concat(" --width ", stored.width);
    if (stored.dynamic() && stored.kernels != asked.kernels) remedy += concat(" --kernels ", stored.kernels);
    if (stored.dynamic() && stored.downsample != asked.downsample)
      remedy += concat(" --downsample ", name_of(stored.downsample));
    if (stored.classes != asked.classes) remedy = concat("take data of ", stored.classes, " classes");
    fail(where, checkpoint.path, ": expected ", describe(asked), ", got a file that looks like ", describe(stored),
         ": give ", remedy, " or another file");
  }
  model.store.load_state(inflates ? inflated_state(model.store, tensors, inflate_noise) : tensors, checkpoint.path);
}

}  // namespace omniconv
