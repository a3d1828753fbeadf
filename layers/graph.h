// What a network consists of, as one forward pass meets it: the plan of inference, conversion and export.
//
// The layers record themselves where Pass::graph asks for it, so a graph fits whatever network was run, and nothing
// about the network's structure is written twice.
#pragma once

#include <vector>

#include "layers/layers.h"

namespace omniconv {

/// One recorded layer. It reads and writes values, numbered from 0 in the order of their making; value 0 is the
/// network's input.
struct GraphNode {
  enum class Operation {
    convolution,  ///< relu?(norm(conv(input)) + residual?)
    max_pool,
    average_pool,  ///< over all pixels
    linear,
  };
  static constexpr int none = -1;

  Operation operation;
  const NormedConv* convolution = nullptr;  ///< of a convolution
  const Linear* linear = nullptr;           ///< of a linear layer
  kernels::MaxPoolParams max_pool{};        ///< of a max-pool
  int input = none, residual = none, output = none;
  bool relu = false;
};

/// The layers of a network in the order in which they ran. It points to them and must not outlive them.
class Graph {
 public:
  /// A graph of the network whose input is `input` [N, H, W, C].
  explicit Graph(const Variable& input);

  const std::vector<GraphNode>& nodes() const { return nodes_; }
  /// Shape that a value had, its number of samples included.
  const Shape& shape(int value) const { return values_.at(static_cast<std::size_t>(value)).shape(); }
  /// The value as the recorded pass computed it.
  const Variable& value(int value) const { return values_.at(static_cast<std::size_t>(value)); }
  int value_count() const { return static_cast<int>(values_.size()); }
  /// Index of the last node that reads `value`, `GraphNode::none` if no node does.
  int last_reader(int value) const;

  void add_convolution(const NormedConv& layer, const Variable& input, bool relu, const Variable& residual,
                       const Variable& output);
  void add_max_pool(const kernels::MaxPoolParams& params, const Variable& input, const Variable& output);
  void add_average_pool(const Variable& input, const Variable& output);
  void add_linear(const Linear& layer, const Variable& input, const Variable& output);

 private:
  void add(GraphNode node, const Variable& input, const Variable& residual, const Variable& output);
  int index_of(const Variable& value) const;

  std::vector<GraphNode> nodes_;
  std::vector<Variable> values_;  // kept alive, so that no two have the same memory
};

}  // namespace omniconv
