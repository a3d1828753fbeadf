#include "apps/export/onnx_graph.h"

#include <limits>

#include "kernels/error.h"

namespace omniconv {

namespace {

constexpr int ir_version = 8;  // of ONNX 1.10 to 1.12; every later runtime reads it

}  // namespace

OnnxGraph::OnnxGraph(std::int64_t opset) {
  model_.set_ir_version(ir_version);
  model_.set_producer_name("omniconv");
  graph().set_name("omniconv");
  model_.add_opset_import()->set_version(opset);
}

void OnnxGraph::describe(onnx::ValueInfoProto& info, const std::string& name, const Shape& shape) {
  info.set_name(name);
  onnx::TypeProto::Tensor& type = *info.mutable_type()->mutable_tensor_type();
  type.set_elem_type(onnx::TensorProto::FLOAT);
  for (const std::int64_t extent : shape) {
    onnx::TensorShapeProto::Dimension& dimension = *type.mutable_shape()->add_dim();
    if (extent < 0)
      dimension.set_dim_param("batch");
    else
      dimension.set_dim_value(extent);
  }
}

std::string OnnxGraph::constant(const std::string& name, const std::vector<float>& values, const Shape& shape) {
  onnx::TensorProto& tensor = *graph().add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  for (const std::int64_t extent : shape) tensor.add_dims(extent);
  tensor.set_raw_data(values.data(), values.size() * sizeof(float));
  return name;
}

std::string OnnxGraph::constant(const std::string& name, const std::vector<std::int64_t>& values) {
  onnx::TensorProto& tensor = *graph().add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::INT64);
  tensor.add_dims(static_cast<std::int64_t>(values.size()));
  tensor.set_raw_data(values.data(), values.size() * sizeof(std::int64_t));
  return name;
}

std::string OnnxGraph::node(const char* operation, const std::string& output, std::initializer_list<std::string> inputs,
                            const Attributes& attributes) {
  return node(operation, output, std::vector<std::string>(inputs), attributes);
}

std::string OnnxGraph::node(const char* operation, const std::string& output, const std::vector<std::string>& inputs,
                            const Attributes& attributes) {
  onnx::NodeProto& node = *graph().add_node();
  node.set_op_type(operation);
  node.set_name(output);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  for (const auto& [name, value] : attributes.integers) {
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(onnx::AttributeProto::INT);
    attribute.set_i(value);
  }
  for (const auto& [name, values] : attributes.lists) {
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(onnx::AttributeProto::INTS);
    for (const std::int64_t value : values) attribute.add_ints(value);
  }
  for (const auto& [name, value] : attributes.floats) {
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(onnx::AttributeProto::FLOAT);
    attribute.set_f(value);
  }
  return output;
}

void OnnxGraph::add_metadata(const std::string& key, const std::string& value) {
  onnx::StringStringEntryProto& entry = *model_.add_metadata_props();
  entry.set_key(key);
  entry.set_value(value);
}

std::string OnnxGraph::serialize() const {
  const std::size_t bytes = model_.ByteSizeLong();
  expect(bytes <= static_cast<std::size_t>(std::numeric_limits<int>::max()), "export",
         "expected a model within protobuf's 2 GiB, got ", bytes, " bytes: take fewer kernels or a smaller width");
  return model_.SerializeAsString();
}

}  // namespace omniconv
