// ONNX's schema, as little of it as the export needs.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "engine/host_tensor.h"

namespace omniconv {

/// A model in the making. Values are named; each function returns the name of what its node puts out.
class OnnxGraph {
 public:
  explicit OnnxGraph(std::int64_t opset);

  /// Attributes of a node, by their types.
  struct Attributes {
    std::vector<std::pair<const char*, std::int64_t>> integers;
    std::vector<std::pair<const char*, std::vector<std::int64_t>>> lists;
    std::vector<std::pair<const char*, float>> floats;
  };

  /// An f32 value of the network's border; extent -1 is the batch.
  void add_input(const std::string& name, const Shape& shape) { describe(*graph().add_input(), name, shape); }
  void add_output(const std::string& name, const Shape& shape) { describe(*graph().add_output(), name, shape); }
  /// Constants.
  std::string constant(const std::string& name, const std::vector<float>& values, const Shape& shape);
  std::string constant(const std::string& name, const std::vector<std::int64_t>& values);
  /// A node of `operation`, named like its output.
  std::string node(const char* operation, const std::string& output, std::initializer_list<std::string> inputs,
                   const Attributes& attributes = {});
  std::string node(const char* operation, const std::string& output, const std::vector<std::string>& inputs,
                   const Attributes& attributes = {});
  void add_metadata(const std::string& key, const std::string& value);

  /// The file's bytes. @throws Error above protobuf's 2 GiB.
  std::string serialize() const;

 private:
  onnx::GraphProto& graph() { return *model_.mutable_graph(); }
  static void describe(onnx::ValueInfoProto& info, const std::string& name, const Shape& shape);

  onnx::ModelProto model_;
};

}  // namespace omniconv
