#include "models/static_conversion.h"

#include <cmath>

namespace omniconv {

namespace {

constexpr const char* where = "convert";

/// The twin with what the two nets share; its other convolutions come later.
std::unique_ptr<Model> static_twin(const Model& model) {
  auto twin = std::make_unique<Model>(static_config(model.config), 0, model.store.precision());
  auto state = twin->store.state();
  for (auto& [name, tensor] : model.store.state())
    if (const auto found = state.find(name); found != state.end() && found->second.shape == tensor.shape)
      found->second = tensor;
  twin->store.load_state(state, "static twin");
  return twin;
}

/// ‖a − b‖ / ‖b‖, sample by sample through host memory.
double relative_distance(const Tensor& a, const Tensor& b) {
  double difference = 0, norm = 0;
  const std::int64_t samples = a.size(0), count = a.count() / samples;
  for (std::int64_t n = 0; n < samples; ++n) {
    const std::vector<double> x = a.view(n * count, {count}).to_doubles(), y = b.view(n * count, {count}).to_doubles();
    for (std::size_t i = 0; i < x.size(); ++i) {
      difference += (x[i] - y[i]) * (x[i] - y[i]);
      norm += y[i] * y[i];
    }
  }
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

}  // namespace

StaticConversion convert_to_static(const Model& model, const Tensor& images) {
  expect(model.config.dynamic(), where, "expected a dynamic model, got the static ", model.config.model);
  expect(!model.config.folded, where, "expected a model with batch norms, got a folded one: convert it before folding");
  expect(images.rank() == 4 && images.size(3) == 3 && images.dtype() == model.store.precision(), where,
         "expected images [N, H, W, 3] of ", name_of(model.store.precision()), ", got ", name_of(images.dtype()),
         " of shape ", images.shape());
  expect(images.size(0) >= 2, where, "expected at least 2 images to calibrate on, got ", images.size(0));

  StaticConversion conversion{static_twin(model), {}};
  const Graph from = model.graph(images.size(1), images.size(2));
  const Graph to = conversion.model->graph(images.size(1), images.size(2));
  Tape tape(false);
  const Pass dynamic_pass = model.pass(tape, false), static_pass = conversion.model->pass(tape, false);
  std::vector<Variable> values(static_cast<std::size_t>(to.value_count()));
  values[0] = Variable(images);
  for (std::size_t index = 0; index < to.nodes().size(); ++index) {
    const GraphNode& node = to.nodes()[index];
    const auto value = [&](int number) { return number < 0 ? Variable() : values[static_cast<std::size_t>(number)]; };
    const Variable input = value(node.input);
    if (node.operation == GraphNode::Operation::max_pool) {
      values[static_cast<std::size_t>(node.output)] = ops::max_pool(tape, node.max_pool, input);
      values[static_cast<std::size_t>(node.input)] = Variable();
      continue;
    }
    if (node.operation != GraphNode::Operation::convolution) break;  // nothing behind the last convolution changes
    const NormedConv& layer = *node.convolution;
    const auto* dynamic = dynamic_cast<const ODConv2d*>(&from.nodes()[index].convolution->conv());
    if (dynamic)
      layer.conv().weight().value().copy_from(
          dynamic->mean_weight(ops::attentions(dynamic->attention(dynamic_pass, input), model.temperature)));
    const Variable convolved = layer.conv().forward(static_pass, input);
    if (dynamic)
      conversion.layers.push_back(
          {layer.prefix().substr(0, layer.prefix().size() - 1),
           relative_distance(convolved.value(), dynamic->forward(dynamic_pass, input).value())});
    layer.norm()->estimate_statistics(convolved);
    values[static_cast<std::size_t>(node.output)] =
        layer.norm()->forward(static_pass, convolved, node.relu, value(node.residual));
    for (int read : {node.input, node.residual})
      if (read >= 0 && to.last_reader(read) == static_cast<int>(index))
        values[static_cast<std::size_t>(read)] = Variable();
  }
  return conversion;
}

}  // namespace omniconv
