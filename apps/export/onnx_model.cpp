#include "apps/export/onnx.h"

#include <set>

#include "apps/export/onnx_graph.h"
#include "engine/files.h"
#include "models/folding.h"

namespace omniconv {

namespace {

using Attributes = OnnxGraph::Attributes;

/// Writes the layers of a folded model. Names of constants are those of the checkpoint.
class Exporter {
 public:
  Exporter(const Model& model, OnnxGraph& onnx)
      : onnx_(onnx), state_(model.store.state()), temperature_(model.temperature.to_doubles().front()) {}

  /// `shape` is that of the input, [1, H, W, C].
  std::string convolution(const NormedConv& layer, const std::string& input, const Shape& shape, bool relu,
                          const std::string& residual) {
    const ConvShape conv = layer.conv().shape(shape[1], shape[2]);
    const auto* dynamic = dynamic_cast<const ODConv2d*>(&layer.conv());
    const std::string& prefix = layer.prefix();
    std::string value = dynamic ? dynamic_convolution(prefix, *dynamic, conv, input) : fixed(prefix, conv, input);
    if (!residual.empty()) value = onnx_.node("Add", prefix + "sum", {value, residual});
    return relu ? onnx_.node("Relu", prefix + "relu", {value}) : value;
  }

  std::string max_pool(const kernels::MaxPoolParams& p, const std::string& input) {
    return onnx_.node("MaxPool", input + ".max", {input},
                      {.integers = {},
                       .lists = {{"kernel_shape", {p.window, p.window}},
                                 {"pads", {p.padding, p.padding, p.padding, p.padding}},
                                 {"strides", {p.stride, p.stride}}},
                       .floats = {}});
  }

  /// The attentions of several convolutions, or an attention and the classifier, may ask for one mean.
  std::string average_pool(const std::string& input) {
    if (!pooled_.insert(input).second) return input + ".mean";
    return onnx_.node("Flatten", input + ".mean", {onnx_.node("GlobalAveragePool", input + ".pooled", {input})},
                      {.integers = {{"axis", 1}}, .lists = {}, .floats = {}});
  }

  std::string linear(const std::string& prefix, const std::string& input, const std::string& output) {
    return fully_connected(prefix, input, output, 1);
  }

 private:
  std::vector<float> values(const std::string& name) const { return to_floats(state_.at(name), name); }
  std::string constant(const std::string& name) { return onnx_.constant(name, values(name), state_.at(name).shape); }

  static Attributes conv_attributes(const ConvShape& conv) {
    const Conv2dParams& p = conv.params;
    return {.integers = {{"group", p.groups}},
            .lists = {{"kernel_shape", {conv.kernel_height, conv.kernel_width}},
                      {"strides", {p.stride, p.stride}},
                      {"pads", {p.padding, p.padding, p.padding, p.padding}},
                      {"dilations", {p.dilation, p.dilation}}},
            .floats = {}};
  }

  std::string fixed(const std::string& prefix, const ConvShape& conv, const std::string& input) {
    return onnx_.node("Conv", prefix + "output", {input, constant(prefix + "weight"), constant(prefix + "bias")},
                      conv_attributes(conv));
  }

  /// input [N, I] · weightᵀ + bias, both divided by `divisor`.
  std::string fully_connected(const std::string& prefix, const std::string& input, const std::string& output,
                              double divisor) {
    std::vector<std::string> inputs{input};
    for (const char* part : {"weight", "bias"}) {
      const std::string name = prefix + part;
      if (!state_.contains(name)) continue;  // a trunk in front of a layer norm has no bias
      std::vector<float> scaled = values(name);
      for (float& value : scaled) value = static_cast<float>(value / divisor);
      Shape shape = state_.at(name).shape;
      if (shape.size() == 4) shape.resize(2);  // 1x1 convolutions on one pixel
      inputs.push_back(onnx_.constant(name, scaled, shape));
    }
    return onnx_.node("Gemm", output, inputs, {.integers = {{"transB", 1}}, .lists = {}, .floats = {}});
  }

  /// relu(norm(W_fc · mean(x))) [N, A].
  std::string trunk(const std::string& prefix, const ODConvAttention& attention, const std::string& input) {
    std::string hidden = fully_connected(prefix + "fc.", average_pool(input), prefix + "fc.output", 1);
    if (attention.norm())
      hidden = onnx_.node("LayerNormalization", prefix + "bn.output",
                          {hidden, constant(prefix + "bn.weight"), constant(prefix + "bn.bias")},
                          {.integers = {{"axis", -1}},
                           .lists = {},
                           .floats = {{"epsilon", static_cast<float>(ops::BatchNormMode{}.epsilon)}}});
    return onnx_.node("Relu", prefix + "hidden", {hidden});
  }

  /// An attention, shaped for what it multiplies; empty where the head is absent.
  std::string attention(const std::string& prefix, const ODConvAttention::Head& head, const char* name,
                        const std::string& hidden, const char* activation, const std::vector<std::int64_t>& shape) {
    if (!head.weight.defined()) return {};
    const std::string value = prefix + name;
    const std::string logits = fully_connected(value + "_fc.", hidden, value + ".logits", temperature_);
    const std::string active = onnx_.node(activation, value + ".flat", {logits});
    return reshape(value, active, shape);
  }

  /// 0 keeps the batch.
  std::string reshape(const std::string& output, const std::string& input, const std::vector<std::int64_t>& shape) {
    return onnx_.node("Reshape", output, {input, onnx_.constant(output + ".shape", shape)});
  }

  std::string dynamic_convolution(const std::string& prefix, const ODConv2d& layer, const ConvShape& conv,
                                  const std::string& input) {
    expect(conv.params.groups == 1, "export", "expected dynamic convolutions with 1 group, got ", conv.params.groups,
           " in ", prefix);
    const ODConvAttention& heads = layer.attention();
    const std::string of = prefix + "attention.";
    const std::string hidden = trunk(of, heads, input);
    const std::int64_t in = conv.in_channels, out = conv.out_channels, taps = conv.taps();
    const std::string c = attention(of, heads.channel(), "channel", hidden, "Sigmoid", {0, in, 1, 1});
    const std::string f = attention(of, heads.filter(), "filter", hidden, "Sigmoid", {0, out, 1, 1});
    const std::string s = attention(of, heads.spatial(), "spatial", hidden, "Sigmoid", {0, 1, taps, 1});
    const std::string p = attention(of, heads.kernel(), "kernel", hidden, "Softmax", {0, layer.weight().shape()[0]});
    const std::string scaled = onnx_.node("Mul", prefix + "scaled_input", {input, c});
    std::string output;
    if (s.empty() && p.empty()) {
      const HostTensor& weight = state_.at(prefix + "weight");  // [1, O, I, R, S]
      const std::string kernel = onnx_.constant(prefix + "weight", values(prefix + "weight"),
                                                Shape(weight.shape.begin() + 1, weight.shape.end()));
      output = onnx_.node("Conv", prefix + "convolved", {scaled, kernel}, conv_attributes(conv));
    } else {
      const std::string product =
          onnx_.node("MatMul", prefix + "product", {mixed_kernels(prefix, conv, s, p), patches(prefix, conv, scaled)});
      output = reshape(prefix + "convolved", product, {0, out, conv.out_height(), conv.out_width()});
    }
    if (!f.empty()) output = onnx_.node("Mul", prefix + "filtered", {output, f});
    const std::string bias = onnx_.constant(prefix + "bias", values(prefix + "bias"), {1, out, 1, 1});
    return onnx_.node("Add", prefix + "output", {output, bias});
  }

  /// Σ_k p_nk s_nt W_k as [N, O, R·S·I], or [1, O, R·S·I] where nothing differs between samples.
  std::string mixed_kernels(const std::string& prefix, const ConvShape& conv, const std::string& s,
                            const std::string& p) {
    const std::int64_t in = conv.in_channels, out = conv.out_channels, taps = conv.taps();
    const std::vector<float> stored = values(prefix + "weight");  // [K, O, I, R·S]
    const std::int64_t kernels = static_cast<std::int64_t>(stored.size()) / conv.weight_count();
    std::vector<float> weight(stored.size());  // [K, O, R·S, I]
    for (std::int64_t row = 0; row < kernels * out; ++row)
      for (std::int64_t i = 0; i < in; ++i)
        for (std::int64_t t = 0; t < taps; ++t)
          weight[static_cast<std::size_t>((row * taps + t) * in + i)] =
              stored[static_cast<std::size_t>((row * in + i) * taps + t)];
    const std::vector<std::int64_t> shape{p.empty() ? 1 : 0, out, taps, in};
    std::string mixed;
    if (p.empty()) {
      mixed = onnx_.constant(prefix + "weight", weight, shape);
    } else {
      const std::string all = onnx_.constant(prefix + "weight", weight, {kernels, out * taps * in});
      mixed = reshape(prefix + "mixed", onnx_.node("MatMul", prefix + "mixed.flat", {p, all}), shape);
    }
    if (!s.empty()) mixed = onnx_.node("Mul", prefix + "attended", {mixed, s});
    return reshape(prefix + "kernels", mixed, {0, out, taps * in});
  }

  /// The patches of input [N, I, H, W] as columns [N, R·S·I, OH·OW]: a strided window of the padded input per tap.
  std::string patches(const std::string& prefix, const ConvShape& conv, const std::string& input) {
    const Conv2dParams& p = conv.params;
    std::string padded = input;
    if (p.padding > 0)
      padded = onnx_.node(
          "Pad", prefix + "padded",
          {input, onnx_.constant(prefix + "pads", {0, 0, p.padding, p.padding, 0, 0, p.padding, p.padding})});
    const std::string axes = onnx_.constant(prefix + "axes", {2, 3});
    const std::string steps = onnx_.constant(prefix + "steps", {p.stride, p.stride});
    std::vector<std::string> windows;
    for (std::int64_t t = 0; t < conv.taps(); ++t) {
      const std::int64_t h = t / conv.kernel_width * p.dilation, w = t % conv.kernel_width * p.dilation;
      const std::string window = concat(prefix, "tap", t);
      const std::string start = onnx_.constant(window + ".start", {h, w});
      const std::string end = onnx_.constant(
          window + ".end", {h + (conv.out_height() - 1) * p.stride + 1, w + (conv.out_width() - 1) * p.stride + 1});
      windows.push_back(onnx_.node("Slice", window, {padded, start, end, axes, steps}));
    }
    const std::string joined =
        onnx_.node("Concat", prefix + "windows", windows, {.integers = {{"axis", 1}}, .lists = {}, .floats = {}});
    return reshape(prefix + "patches", joined, {0, conv.taps() * conv.in_channels, conv.out_pixels()});
  }

  OnnxGraph& onnx_;
  std::map<std::string, HostTensor> state_;
  double temperature_;
  std::set<std::string> pooled_;  // values whose means are there already
};

OnnxGraph build(const Model& model, std::int64_t extent, std::int64_t opset) {
  const Graph graph = model.graph(extent, extent);
  OnnxGraph onnx(opset);
  Exporter exporter(model, onnx);
  onnx.add_input("input", {-1, 3, extent, extent});
  onnx.add_output("logits", {-1, model.config.classes});
  for (const auto& [key, value] : to_metadata(model.config)) onnx.add_metadata(key, value);
  std::vector<std::string> names(static_cast<std::size_t>(graph.value_count()));
  names[0] = "input";
  for (const GraphNode& node : graph.nodes()) {
    const std::string& input = names[static_cast<std::size_t>(node.input)];
    std::string& output = names[static_cast<std::size_t>(node.output)];
    switch (node.operation) {
      case GraphNode::Operation::convolution:
        output = exporter.convolution(*node.convolution, input, graph.shape(node.input), node.relu,
                                      node.residual < 0 ? "" : names[static_cast<std::size_t>(node.residual)]);
        break;
      case GraphNode::Operation::max_pool:
        output = exporter.max_pool(node.max_pool, input);
        break;
      case GraphNode::Operation::average_pool:
        output = exporter.average_pool(input);
        break;
      case GraphNode::Operation::linear:
        output = exporter.linear(node.linear->prefix(), input, "logits");
        break;
    }
  }
  return onnx;
}

}  // namespace

void export_onnx(const Model& model, std::int64_t extent, std::int64_t opset, const std::string& path) {
  check_opset(model.config, opset);
  const std::unique_ptr<Model> folded = model.config.folded ? nullptr : fold(model);
  write_file("export", path, build(folded ? *folded : model, extent, opset).serialize());
}

}  // namespace omniconv
