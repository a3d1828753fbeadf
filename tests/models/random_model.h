// Models whose every tensor means something: drawn norms and heads, so that nothing hides behind a one or a zero.
#pragma once

#include <cmath>
#include <memory>

#include "models/resnet.h"
#include "tests/random.h"

namespace omniconv::test {

/// A model with random norms, running statistics and attention heads.
inline std::unique_ptr<Model> random_model(const ModelConfig& config, DType dtype, std::uint64_t seed = 5) {
  auto model = std::make_unique<Model>(config, seed, dtype);
  auto state = model->store.state();
  for (auto& [name, tensor] : state) {
    if (tensor.shape.size() != 1) continue;  // norms and biases
    std::vector<double> values = uniform_values<double>(tensor.shape[0], ++seed, 0.5);
    const bool positive = name.ends_with("running_var") || name.ends_with("bn.weight") ||
                          name.ends_with("bn1.weight") || name.ends_with("bn2.weight") ||
                          name.ends_with("bn3.weight") || name.ends_with("downsample.1.weight");
    if (positive)
      for (double& value : values) value += 1;
    tensor = make_host_tensor(values, tensor.shape);
  }
  model->store.load_state(state, "random model");
  model->set_temperature(1.5);
  return model;
}

/// Logits of a forward pass in evaluation.
inline Tensor logits_of(const Model& model, const Tensor& images) {
  Tape tape(false);
  return model.net.forward(model.pass(tape, false), Variable(images)).value();
}

}  // namespace omniconv::test
