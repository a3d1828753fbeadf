// The whole nets that network and training fixtures run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/resnet.h"
#include "tests/pytorch/results.h"

namespace omniconv::pytorch {

/// The net of a case in f64, with the generator's weights.
inline std::unique_ptr<Model> make_network(const Case& test) {
  const ModelConfig config{.model = test.text("model"),
                           .width = test.integer("width"),
                           .kernels = test.integer("kernels"),
                           .reduction = test.number("reduction"),
                           .downsample = test.text("downsample") == "static" ? Downsample::fixed : Downsample::odconv,
                           .classes = test.integer("classes"),
                           .stem = parse_stem(test.text("stem")),
                           .image_size = test.integer("image_size")};
  auto model = std::make_unique<Model>(config, 0, DType::f64);
  fill(model->store, test.seed());
  return model;
}

/// The images `name` of a case, [batch, size, size, 3].
inline Tensor network_input(const Case& test, const std::string& name) {
  const std::int64_t size = test.integer("image_size");
  return make_input(test.seed(), name, {test.integer("batch"), size, size, 3}, DType::f64);
}

struct StepValues {
  Tensor logits;  // [N, classes]
  double loss = 0;
};

/// Forward in training mode and backward; leaves the gradients in the store.
inline StepValues forward_and_backward(const Model& model, const Variable& images, std::int64_t first_image) {
  const Tensor labels = Tensor::from_host(pytorch::labels(first_image, images.value().size(0)));
  Tape tape;
  model.store.begin_gradients();
  const Variable logits = model.net.forward(model.pass(tape, true), images);
  const Tensor values = logits.value();
  const Variable loss = ops::cross_entropy(tape, logits, labels, nullptr);
  tape.backward(loss);
  model.store.finish_gradients();
  return {values, loss.value().to_doubles().front()};
}

/// "state/<buffer>" -> summary, of all running statistics.
inline std::map<std::string, std::vector<double>> running_summaries(const Model& model) {
  std::map<std::string, std::vector<double>> summaries;
  for (const auto& [name, tensor] : model.store.state())
    if (is_buffer(name) && tensor.dtype != DType::i64)
      summaries.emplace("state/" + name, summary(name, to_doubles(tensor, name)));
  return summaries;
}

}  // namespace omniconv::pytorch
