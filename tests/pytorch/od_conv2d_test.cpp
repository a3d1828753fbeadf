// ODConv2d against PyTorch: attentions, output, every gradient, running statistics, in f64 and f32 and with every
// algorithm of the dynamic convolution.
#include "engine/conv/dynamic_conv.h"
#include "engine/device.h"
#include "engine/fusions.h"
#include "kernels/attention.h"
#include "layers/od_conv.h"
#include "tests/pytorch/algorithms.h"
#include "tests/pytorch/comparison.h"
#include "tests/pytorch/results.h"

namespace omniconv::pytorch {
namespace {

/// The four attentions as od_conv2d computes them from the layer's logits.
Results attention_results(const ops::AttentionLogits& logits, const Tensor& temperature) {
  Results results;
  const auto keep = [&](const char* kind, const Variable& head, const auto& activate) {
    if (!head.defined()) return;
    const Tensor z = head.value();
    const Tensor attention = Tensor::empty(z.shape(), z.dtype());
    dispatch("fixture", z.dtype(), [&](auto zero) {
      using T = decltype(zero);
      activate(z.data<T>(), attention.data<T>(), z.size(0), z.size(1));
    });
    results.emplace(concat("value/attention.", kind), host_tensor(attention));
  };
  const double* t = temperature.data<double>();
  const auto sigmoid = [&](const auto* z, auto* attention, std::int64_t samples, std::int64_t width) {
    kernels::sigmoid_attention_forward(z, t, attention, samples * width, main_stream());
  };
  const auto softmax = [&](const auto* z, auto* attention, std::int64_t samples, std::int64_t width) {
    kernels::softmax_attention_forward(z, t, attention, samples, width, main_stream());
  };
  keep("channel", logits.channel, sigmoid);
  keep("filter", logits.filter, sigmoid);
  keep("spatial", logits.spatial, sigmoid);
  keep("kernel", logits.kernel, softmax);
  return results;
}

Results run_layer(const Case& test, DType dtype) {
  ParameterStore store(dtype, 0);
  const Conv2dParams params{.stride = test.integer("stride"),
                            .padding = test.integer("padding"),
                            .dilation = test.integer("dilation"),
                            .groups = test.integer("groups")};
  const ODConvOptions options{.kernels = test.integer("kernels"), .reduction = test.number("reduction")};
  const ODConv2d layer(store, "", test.integer("in_planes"), test.integer("out_planes"), test.integer("kernel_size"),
                       params, options);
  store.allocate();
  fill(store, test.seed());
  Results results = run_module(
      test, store, [&](const Pass& pass, const Variable& input) { return layer.forward(pass, input); });
  // The running statistics, which this moves once more, have been read.
  Tape silent(false);
  const Pass pass{silent, test.training(), module_temperature(test)};
  results.merge(attention_results(layer.attention(pass, Variable(module_input(test, dtype))), pass.temperature));
  return results;
}

void check_layers(DType dtype) {
  const Fixture fixture = read_fixture(concat("odconv2d.", name_of(dtype)));
  REQUIRE(fixture.cases.size() >= 36);
  for_each_algorithm(dtype, [&](const std::string& algorithm) {
    for (const Case& test : fixture.cases)
      check_agreement(concat(test.name(), ", ", name_of(dtype), ", ", algorithm), run_layer(test, dtype),
                      fixture.expected(test), Bars::layer(dtype), Form::tensors);
  });
}

TEST_CASE("ODConv2d with its attention in one launch agrees with PyTorch", "[pytorch]") {
  const WithFusion fused(Fusion::attention, true);
  const DType dtype = GENERATE(DType::f64, DType::f32);
  const Fixture fixture = read_fixture(concat("odconv2d.", name_of(dtype)));
  for (const Case& test : fixture.cases)
    check_agreement(concat(test.name(), ", ", name_of(dtype)), run_layer(test, dtype), fixture.expected(test),
                    Bars::layer(dtype), Form::tensors);
}

TEST_CASE("ODConv2d agrees with PyTorch in f64, every algorithm", "[pytorch]") { check_layers(DType::f64); }

TEST_CASE("ODConv2d agrees with PyTorch in f32, every algorithm", "[pytorch]") { check_layers(DType::f32); }

}  // namespace
}  // namespace omniconv::pytorch
