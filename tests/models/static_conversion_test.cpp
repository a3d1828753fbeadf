// The static twin of a dynamic net: joint means, order, statistics, and what is refused.
#include "models/static_conversion.h"

#include "models/folding.h"
#include "tests/models/random_model.h"
#include "tests/tolerance.h"

namespace omniconv {
namespace {

using test::ContainsSubstring;
using test::logits_of;
using test::random_model;
using test::require_close;
using test::Tolerance;
using test::uniform_tensor;

TEST_CASE("constant attention converts without error, and logits follow the statistics", "[conversion]") {
  // Heads of zero: c = f = s = 1/2, p = 1/K for every image, so the twin's convolutions are the net's own.
  const bool bottlenecks = GENERATE(false, true);
  const ModelConfig basic{.model = "od_resnet18", .width = 8, .kernels = 3, .attention_init = AttentionInit::zero};
  const ModelConfig official{.model = "od_resnet50",
                             .width = 8,
                             .kernels = 2,
                             .downsample = Downsample::fixed,
                             .attention_init = AttentionInit::zero,
                             .stem = Stem::imagenet};
  const Model model(bottlenecks ? official : basic, 1, DType::f64);
  const Tensor images = uniform_tensor<double>({6, 32, 32, 3}, 1);
  const StaticConversion conversion = convert_to_static(model, images);
  REQUIRE(conversion.layers.size() == (bottlenecks ? 48u : 19u));
  CHECK(conversion.layers.front().name == "layer1.0.conv1");
  CHECK(conversion.layers[5].name == (bottlenecks ? "layer1.1.conv3" : "layer2.0.downsample.0"));
  for (const ConvertedLayer& layer : conversion.layers) CHECK(layer.relative_error < 1e-12);
  CHECK(conversion.model->config.model == (bottlenecks ? "resnet50" : "resnet18"));

  // A dynamic net with the same running statistics computes the same logits.
  Model same(model.config, 1, DType::f64);
  auto state = same.store.state();
  for (const auto& [name, tensor] : conversion.model->store.state())
    if (name.find("running_") != std::string::npos) state.at(name) = tensor;
  same.store.load_state(state, "test");
  require_close(logits_of(*conversion.model, images).to_doubles(), logits_of(same, images).to_doubles(), {1e-9, 1e-9},
                "logits");
}

TEST_CASE("weights are joint means over what the converted predecessors yield", "[conversion]") {
  const auto model = random_model({.model = "od_resnet18", .width = 8, .kernels = 2}, DType::f64);
  const Tensor images = uniform_tensor<double>({4, 16, 16, 3}, 2);
  const StaticConversion conversion = convert_to_static(*model, images);
  CHECK(conversion.layers.front().relative_error > 1e-3);

  // The second block's first convolution, by hand: its input is that of the converted net.
  const Graph from = model->graph(16, 16), to = conversion.model->graph(16, 16);
  Tape tape(false);
  const Pass pass = conversion.model->pass(tape, false);
  std::vector<Variable> values{Variable(images)};
  for (int i = 0; i < 3; ++i) {
    const GraphNode& node = to.nodes()[static_cast<std::size_t>(i)];
    values.push_back(
        node.convolution->forward(pass, values[static_cast<std::size_t>(node.input)], node.relu,
                                  node.residual < 0 ? Variable() : values[static_cast<std::size_t>(node.residual)]));
  }
  const auto& layer = dynamic_cast<const ODConv2d&>(from.nodes()[3].convolution->conv());
  const ops::Attentions a =
      ops::attentions(layer.attention(model->pass(tape, false), values.back()), model->temperature);
  const auto c = a.channel.to_doubles(), f = a.filter.to_doubles(), s = a.spatial.to_doubles(),
             p = a.kernel.to_doubles(), w = layer.weight().value().to_doubles();
  std::vector<double> mean(8 * 9 * 8, 0.0);
  for (std::size_t n = 0; n < 4; ++n)
    for (std::size_t o = 0; o < 8; ++o)
      for (std::size_t t = 0; t < 9; ++t)
        for (std::size_t i = 0; i < 8; ++i)
          for (std::size_t k = 0; k < 2; ++k)
            mean[(o * 9 + t) * 8 + i] +=
                0.25 * f[n * 8 + o] * c[n * 8 + i] * s[n * 9 + t] * p[n * 2 + k] * w[((k * 8 + o) * 9 + t) * 8 + i];
  require_close(to.nodes()[3].convolution->conv().weight().value().to_doubles(), mean, Tolerance::rounding<double>(),
                "joint mean");
}

TEST_CASE("batch norms of the twin have the statistics of its own convolutions", "[conversion]") {
  const auto model = random_model({.model = "od_resnet18", .width = 8, .kernels = 2}, DType::f64);
  const Tensor images = uniform_tensor<double>({4, 16, 16, 3}, 2);
  const StaticConversion conversion = convert_to_static(*model, images);
  const Graph graph = conversion.model->graph(16, 16);
  const NormedConv& stem = *graph.nodes()[0].convolution;
  Tape tape(false);
  const Variable convolved = stem.conv().forward(conversion.model->pass(tape, false), Variable(images));
  const auto x = convolved.value().to_doubles();
  const double rows = static_cast<double>(x.size()) / 8;
  double mean = 0, variance = 0;
  for (std::size_t i = 5; i < x.size(); i += 8) mean += x[i] / rows;
  for (std::size_t i = 5; i < x.size(); i += 8) variance += (x[i] - mean) * (x[i] - mean) / (rows - 1);
  CHECK(Tolerance::rounding<double>().holds(stem.norm()->running_mean().value().to_doubles()[5], mean));
  CHECK(Tolerance::rounding<double>().holds(stem.norm()->running_var().value().to_doubles()[5], variance));
}

TEST_CASE("grouped and depth-wise convolutions average too", "[conversion]") {
  for (const std::int64_t groups : {2, 4}) {
    ParameterStore store(DType::f64, 3);
    const ODConv2d layer(store, "conv.", 4, 4, 3, {.padding = 1, .groups = groups}, {.kernels = 2});
    store.allocate();
    const Tensor temperature = Tensor::from_host(std::vector<double>{1.0});
    Tape tape(false);
    const Variable input(uniform_tensor<double>({1, 5, 5, 4}, 4));
    const Pass pass{tape, false, temperature};
    // Over one sample the mean is the sample's own kernel, so the static convolution yields the same output.
    const Tensor weight = layer.mean_weight(ops::attentions(layer.attention(pass, input), temperature));
    const Variable output = ops::conv2d(tape, {.padding = 1, .groups = groups}, input, Variable(weight));
    require_close(output.value().to_doubles(), layer.forward(pass, input).value().to_doubles(),
                  Tolerance::rounding<double>(), "output");
  }
}

TEST_CASE("conversion refuses what it cannot convert", "[conversion]") {
  const Tensor images = uniform_tensor<float>({2, 8, 8, 3}, 1);
  const Model model({.model = "od_resnet18", .width = 8, .kernels = 2}, 0);
  CHECK_THROWS_WITH(convert_to_static(Model({.model = "resnet18", .width = 8, .kernels = 1}, 0), images),
                    ContainsSubstring("[convert] expected a dynamic model, got the static resnet18"));
  CHECK_THROWS_WITH(convert_to_static(*fold(model), images), ContainsSubstring("got a folded one"));
  CHECK_THROWS_WITH(convert_to_static(model, uniform_tensor<float>({1, 8, 8, 3}, 1)),
                    ContainsSubstring("at least 2 images to calibrate on, got 1"));
  CHECK_THROWS_WITH(convert_to_static(model, uniform_tensor<float>({2, 8, 8, 4}, 1)),
                    ContainsSubstring("expected images [N, H, W, 3] of f32, got f32 of shape [2, 8, 8, 4]"));
}

}  // namespace
}  // namespace omniconv
