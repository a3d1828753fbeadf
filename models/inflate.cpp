#include "models/inflate.h"

namespace omniconv {

namespace {

using Tensors = std::map<std::string, HostTensor>;

constexpr std::string_view attention = "attention.";

/// What the static kernel is multiplied by, so that the halves of the attentions cancel.
double inflation(const Tensors& state, const std::string& layer) {
  double factor = 1;
  for (const char* head : {"channel_fc", "filter_fc", "spatial_fc"})
    if (state.contains(concat(layer, attention, head, ".weight"))) factor *= 2;
  return factor;
}

/// K kernels [K, O, I/g, R, S] from one [O, I/g, R, S]; `fresh` are the layer's first values.
HostTensor inflated_kernels(const std::string& name, const HostTensor& kernel, const HostTensor& fresh, double factor,
                            double noise) {
  const std::vector<double> source = to_doubles(kernel, name);
  std::vector<double> values = to_doubles(fresh, name);
  const std::size_t count = source.size(), kernels = values.size() / count;
  for (std::size_t i = 0; i < count; ++i) {
    double mean = 0;
    for (std::size_t k = 0; k < kernels; ++k) mean += values[k * count + i] / static_cast<double>(kernels);
    for (std::size_t k = 0; k < kernels; ++k) {
      double& value = values[k * count + i];
      value = factor * (source[i] + noise * (value - mean));
    }
  }
  return make_host_tensor(values, fresh.shape);
}

}  // namespace

Tensors inflated_state(const ParameterStore& store, const Tensors& tensors, double noise) {
  const Tensors fresh = store.state();
  Tensors state = tensors;
  for (const auto& [name, tensor] : fresh) {
    if (const std::size_t at = name.find(attention); at != std::string::npos) {
      const bool head = name.find("_fc.", at) != std::string::npos;
      state[name] = head ? make_host_tensor(std::vector<float>(to_doubles(tensor, name).size()), tensor.shape) : tensor;
      continue;
    }
    const auto kernel = tensors.find(name);
    if (tensor.shape.size() != 5 || kernel == tensors.end()) continue;
    if (kernel->second.shape != Shape(tensor.shape.begin() + 1, tensor.shape.end())) continue;
    const std::string layer = name.substr(0, name.size() - std::string_view("weight").size());
    state[name] = inflated_kernels(name, kernel->second, tensor, inflation(fresh, layer), noise);
  }
  return state;
}

}  // namespace omniconv
