#include "models/folding.h"

#include <cmath>

namespace omniconv {

namespace {

using State = std::map<std::string, HostTensor>;

/// Removes the norm `norm_prefix` and moves what it did into the weight and the bias of `prefix`.
void fold_norm(State& state, const std::string& prefix, const std::string& norm_prefix) {
  const auto take = [&](const char* name) {
    const auto node = state.extract(norm_prefix + name);
    return to_doubles(node.mapped(), node.key());
  };
  const std::vector<double> gamma = take("weight"), beta = take("bias"), mean = take("running_mean");
  std::vector<double> scale = take("running_var"), bias(beta.size());
  state.erase(norm_prefix + "num_batches_tracked");
  for (std::size_t o = 0; o < scale.size(); ++o) {
    scale[o] = gamma[o] / std::sqrt(scale[o] + ops::BatchNormMode{}.epsilon);
    bias[o] = beta[o] - mean[o] * scale[o];
  }

  HostTensor& weight = state.at(prefix + "weight");  // [O, ...], of a dynamic convolution [K, O, ...]
  std::vector<double> values = to_doubles(weight, prefix + "weight");
  const std::size_t kernels = weight.shape.size() == 5 ? static_cast<std::size_t>(weight.shape[0]) : 1;
  const std::size_t row = values.size() / (kernels * scale.size());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] *= scale[i / row % scale.size()];
  weight = make_host_tensor(values, weight.shape);
  const auto channels = static_cast<std::int64_t>(bias.size());
  state.emplace(prefix + "bias", make_host_tensor(bias, {channels}));
}

}  // namespace

std::unique_ptr<Model> fold(const Model& model) {
  expect(!model.config.folded, "fold", "expected a model with batch norms, got a folded one");
  State state = model.store.state();
  const Graph graph = model.graph();
  for (const GraphNode& node : graph.nodes()) {
    if (node.operation != GraphNode::Operation::convolution) continue;
    const NormedConv& layer = *node.convolution;
    fold_norm(state, layer.prefix(), layer.norm_prefix());
    const auto* dynamic = dynamic_cast<const ODConv2d*>(&layer.conv());
    if (dynamic && dynamic->attention().norm_kind() != AttentionNorm::layer)
      fold_norm(state, layer.prefix() + "attention.fc.", layer.prefix() + "attention.bn.");
  }
  ModelConfig config = model.config;
  config.folded = true;
  auto folded = std::make_unique<Model>(config, state, "folded model", model.store.precision());
  folded->temperature.copy_from(model.temperature);
  return folded;
}

}  // namespace omniconv
