// Layers: gradients through the whole of ODConv, its heads, and what it refuses.
#include "layers/od_conv.h"

#include <cmath>

#include "engine/fusions.h"
#include "layers/graph.h"
#include "tests/autograd_check.h"

namespace omniconv {
namespace {

using test::check_gradients;
using test::ContainsSubstring;
using test::NamedVariable;
using test::uniform_tensor;

Tensor temperature_of(double value) {
  return Tensor::from_host(std::vector<double>{value});
}

/// All trained parameters of a store, with their names.
std::vector<NamedVariable> parameters_of(const ParameterStore& store) {
  std::vector<NamedVariable> parameters;
  for (const auto& entry : store.entries())
    if (entry.trained) parameters.push_back({entry.spec.name, entry.variable});
  return parameters;
}

struct LayerCase {
  std::int64_t in, out, kernel_size;
  Conv2dParams params;
  std::int64_t kernels;
  double temperature;
  bool training;
  AttentionNorm norm = AttentionNorm::batch;
};

void check_layer_gradients(const LayerCase& c) {
  INFO("in " << c.in << ", out " << c.out << ", kernel " << c.kernel_size << ", K " << c.kernels << ", groups "
             << c.params.groups << ", T " << c.temperature << ", training " << c.training << ", norm "
             << name_of(c.norm));
  ParameterStore store(DType::f64, 5);
  const ODConv2d layer(store, "conv.", c.in, c.out, c.kernel_size, c.params, {.kernels = c.kernels, .norm = c.norm});
  store.allocate();
  // Biases and shifts away from their initial zeros, so that ReLU lets a part of the trunk through.
  for (const NamedVariable& parameter : parameters_of(store))
    if (parameter.name.ends_with("bias"))
      parameter.variable.value().copy_from(uniform_tensor<double>(parameter.variable.shape(), 77, 0.7));
  const Variable input(uniform_tensor<double>({5, 6, 5, c.in}, 8), true);
  const Tensor temperature = temperature_of(c.temperature);
  std::vector<NamedVariable> inputs = parameters_of(store);
  inputs.push_back({"input", input});
  check_gradients(
      [&](Tape& tape) {
        return layer.forward({tape, c.training, temperature}, input);
      },
      inputs, 24, 1e-6, {1e-6, 2e-5});
}

TEST_CASE("gradients through ODConv2d, attention included", "[od_conv]") {
  const WithFusion composed(Fusion::attention, false);
  check_layer_gradients(GENERATE(values<LayerCase>({
      {4, 6, 3, {1, 1, 1, 1}, 4, 1, true},
      {4, 6, 3, {2, 1, 1, 1}, 2, 30, true},
      {5, 3, 3, {1, 2, 2, 1}, 3, 0.7, false},
      {4, 4, 3, {1, 1, 1, 4}, 2, 1, true},
      {4, 8, 3, {1, 1, 1, 2}, 2, 2, false},
      {6, 4, 1, {2, 0, 1, 1}, 1, 1, true},
      {4, 4, 3, {1, 1, 1, 1}, 1, 1, true},
      {4, 6, 3, {1, 1, 1, 1}, 2, 1, true, AttentionNorm::frozen},
      {4, 6, 3, {1, 1, 1, 1}, 2, 1, true, AttentionNorm::layer},
  })));
}

TEST_CASE("gradients through ODConv2d with its attention in one launch", "[od_conv]") {
  const WithFusion fused(Fusion::attention, true);
  check_layer_gradients(GENERATE(values<LayerCase>({
      {4, 6, 3, {1, 1, 1, 1}, 4, 30, true},
      {4, 4, 3, {1, 1, 1, 4}, 2, 1, true},  // depth-wise: no filter attention
      {6, 4, 1, {2, 0, 1, 1}, 1, 1, true},
      {5, 3, 3, {1, 2, 2, 1}, 3, 0.7, false},
      {4, 6, 3, {1, 1, 1, 1}, 2, 1, true, AttentionNorm::frozen},
  })));
}

TEST_CASE("trunks that one launch does not take are composed", "[od_conv]") {
  const WithFusion fused(Fusion::attention, true);
  const auto operation_of = [](ODConvOptions options) {
    ParameterStore store(DType::f32, 5);
    const ODConv2d layer(store, "conv.", 260, 8, 1, {1, 0, 1, 1}, options);
    store.allocate();
    const Tensor trunk = layer.attention().trunk().weight.value();
    const std::vector<float> infinite(static_cast<std::size_t>(trunk.count()), HUGE_VALF);
    trunk.copy_from_host(infinite.data());
    Tape tape;
    layer.forward({tape, true, temperature_of(1)}, Variable(uniform_tensor<float>({3, 1, 1, 260}, 1), true));
    return tape.first_not_finite();
  };
  CHECK(operation_of({.reduction = 0.0625}) == "conv.attention (od_attention)");
  CHECK(operation_of({.reduction = 1}) == "conv.attention (linear)");
  CHECK(operation_of({.reduction = 0.0625, .norm = AttentionNorm::layer}) == "conv.attention (linear)");
}

TEST_CASE("ODConv has the heads that its shape calls for", "[od_conv]") {
  const auto names = [](std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t groups,
                        std::int64_t kernels) {
    ParameterStore store(DType::f32, 0);
    const ODConv2d layer(store, "", in, out, kernel, {1, kernel / 2, 1, groups}, {.kernels = kernels});
    std::string heads;
    for (const auto& entry : store.entries())
      for (const char* head : {"channel", "filter", "spatial", "kernel"})
        if (entry.spec.name == concat("attention.", head, "_fc.weight")) heads += concat(head[0]);
    return heads;
  };
  CHECK(names(8, 16, 3, 1, 4) == "cfsk");
  CHECK(names(8, 8, 3, 8, 4) == "csk");
  CHECK(names(8, 16, 1, 1, 4) == "cfk");
  CHECK(names(8, 16, 3, 1, 1) == "cfs");
  CHECK(names(8, 16, 1, 1, 1) == "cf");
}

TEST_CASE("the trunk is a sixteenth of the channels wide, but at least 16", "[od_conv]") {
  CHECK(ODConvAttention::trunk_width(64, 0.0625) == 16);
  CHECK(ODConvAttention::trunk_width(512, 0.0625) == 32);
  CHECK(ODConvAttention::trunk_width(512, 0.25) == 128);
}

TEST_CASE("heads that start at zero give neutral attention", "[od_conv]") {
  ParameterStore store(DType::f64, 5);
  const ODConv2d layer(store, "", 4, 6, 3, {1, 1, 1, 1}, {.kernels = 4, .init = AttentionInit::zero});
  store.allocate();
  Tape tape(false);
  const ops::AttentionLogits logits =
      layer.attention({tape, true, temperature_of(1)}, Variable(uniform_tensor<double>({3, 5, 5, 4}, 1)));
  for (const Variable& head : {logits.channel, logits.filter, logits.spatial, logits.kernel})
    for (double value : head.value().to_doubles()) CHECK(value == 0);
}

TEST_CASE("a training batch of one is refused with the remedy", "[od_conv]") {
  const auto run = [](AttentionNorm norm, bool training) {
    ParameterStore store(DType::f32, 5);
    const ODConv2d layer(store, "", 4, 6, 3, {1, 1, 1, 1}, {.norm = norm});
    store.allocate();
    Tape tape(false);
    return layer.forward({tape, training, temperature_of(1)}, Variable(uniform_tensor<float>({1, 5, 5, 4}, 1)));
  };
  CHECK_THROWS_WITH(run(AttentionNorm::batch, true),
                    ContainsSubstring("expected at least 2 samples") && ContainsSubstring("--attention-norm layer"));
  CHECK_NOTHROW(run(AttentionNorm::batch, false));
  CHECK_NOTHROW(run(AttentionNorm::frozen, true));
  CHECK_NOTHROW(run(AttentionNorm::layer, true));
}

TEST_CASE("only the batch norm moves the running statistics", "[od_conv]") {
  const AttentionNorm norm = GENERATE(AttentionNorm::batch, AttentionNorm::frozen, AttentionNorm::layer);
  ParameterStore store(DType::f64, 5);
  const ODConv2d layer(store, "", 4, 6, 3, {1, 1, 1, 1}, {.norm = norm});
  store.allocate();
  Tape tape(false);
  layer.forward({tape, true, temperature_of(1)}, Variable(uniform_tensor<double>({3, 5, 5, 4}, 1)));
  const bool moved = store.entry("attention.bn.running_mean").variable.value().to_doubles() != std::vector<double>(16);
  CHECK(moved == (norm == AttentionNorm::batch));
}

TEST_CASE("layers refuse impossible shapes", "[layers]") {
  ParameterStore store(DType::f32, 0);
  CHECK_THROWS_WITH(Conv2d(store, "a.", 3, 4, 3, {1, 1, 1, 2}),
                    ContainsSubstring("[conv2d] expected groups that divide 3 and 4 channels, got 2"));
  CHECK_THROWS_WITH(Conv2d(store, "b.", 3, 4, 0, {}), ContainsSubstring("[conv2d] expected at least 1 channel"));
  CHECK_THROWS_WITH(Conv2d(store, "c.", 3, 4, 3, {.stride = 0}), ContainsSubstring("stride 0"));
  CHECK_THROWS_WITH(ODConv2d(store, "d.", 4, 4, 3, {}, {.kernels = 17}),
                    ContainsSubstring("[od_conv2d] expected 1 to 16 kernels, got 17"));
  const ODConv2d layer(store, "e.", 4, 4, 3, {}, {.kernels = 2});
  CHECK_THROWS_WITH(layer.mean_weight({}), ContainsSubstring("expected attentions of at least 1 sample"));
  const Variable known(Tensor::zeros({1, 2, 2, 4}, DType::f32)), other(Tensor::zeros({1, 2, 2, 8}, DType::f32));
  Graph graph(known);
  CHECK_THROWS_WITH(graph.add_average_pool(other, known),
                    ContainsSubstring("[graph] expected values that recorded layers have made, got another one of "
                                      "shape [1, 2, 2, 8]"));
  CHECK_THROWS_WITH(parse_attention_norm("x"),
                    ContainsSubstring("[attention_norm] expected batch, frozen or layer, got x"));
  CHECK_THROWS_WITH(parse_attention_init("x"), ContainsSubstring("[attention_init] expected kaiming or zero, got x"));
}

}  // namespace
}  // namespace omniconv
