#include "layers/graph.h"

#include <algorithm>

namespace omniconv {

Graph::Graph(const Variable& input) : values_{input} {}

int Graph::index_of(const Variable& value) const {
  const auto found = std::find_if(values_.begin(), values_.end(),
                                  [&](const Variable& known) { return known.value().raw() == value.value().raw(); });
  expect(found != values_.end(), "graph", "expected values that recorded layers have made, got another one of shape ",
         value.shape());
  return static_cast<int>(found - values_.begin());
}

int Graph::last_reader(int value) const {
  for (std::size_t i = nodes_.size(); i-- > 0;)
    if (nodes_[i].input == value || nodes_[i].residual == value) return static_cast<int>(i);
  return GraphNode::none;
}

void Graph::add(GraphNode node, const Variable& input, const Variable& residual, const Variable& output) {
  node.input = index_of(input);
  if (residual.defined()) node.residual = index_of(residual);
  node.output = value_count();
  values_.push_back(output);
  nodes_.push_back(node);
}

void Graph::add_convolution(const NormedConv& layer, const Variable& input, bool relu, const Variable& residual,
                            const Variable& output) {
  GraphNode node{.operation = GraphNode::Operation::convolution};
  node.convolution = &layer;
  node.relu = relu;
  add(node, input, residual, output);
}

void Graph::add_max_pool(const kernels::MaxPoolParams& params, const Variable& input, const Variable& output) {
  GraphNode node{.operation = GraphNode::Operation::max_pool};
  node.max_pool = params;
  add(node, input, {}, output);
}

void Graph::add_average_pool(const Variable& input, const Variable& output) {
  add({.operation = GraphNode::Operation::average_pool}, input, {}, output);
}

void Graph::add_linear(const Linear& layer, const Variable& input, const Variable& output) {
  GraphNode node{.operation = GraphNode::Operation::linear};
  node.linear = &layer;
  add(node, input, {}, output);
}

}  // namespace omniconv
