// Folding keeps the function and removes the norms; the graph lists what runs.
#include "models/folding.h"

#include "tests/models/random_model.h"
#include "tests/tolerance.h"

namespace omniconv {
namespace {

using test::ContainsSubstring;
using test::logits_of;
using test::random_model;
using test::require_close;
using test::uniform_tensor;

const std::vector<ModelConfig> configs = {
    {.model = "od_resnet18", .width = 8, .kernels = 3},
    {.model = "od_resnet18", .width = 8, .kernels = 1, .downsample = Downsample::fixed, .classes = 4},
    {.model = "od_resnet18", .width = 8, .kernels = 2, .attention_norm = AttentionNorm::layer},
    {.model = "od_resnet18", .width = 8, .kernels = 2, .attention_norm = AttentionNorm::frozen},
    {.model = "resnet34", .width = 8, .kernels = 1},
    {.model = "od_resnet50", .width = 8, .kernels = 2, .stem = Stem::imagenet},
};

TEST_CASE("a folded model computes the same logits, in evaluation and without norms", "[folding]") {
  const Tensor images = uniform_tensor<double>({3, 16, 16, 3}, 1);
  for (const ModelConfig& config : configs) {
    const auto model = random_model(config, DType::f64);
    const auto folded = fold(*model);
    INFO(config.model << ", K = " << config.kernels << ", norm " << name_of(config.attention_norm));
    require_close(logits_of(*folded, images).to_doubles(), logits_of(*model, images).to_doubles(), {1e-9, 1e-9},
                  "logits");
    const auto state = folded->store.state();
    CHECK(state.contains("conv1.bias"));
    CHECK_FALSE(state.contains("bn1.weight"));
    CHECK(state.contains("layer2.0.downsample.0.bias"));
    const bool trunk_folds = config.dynamic() && config.attention_norm != AttentionNorm::layer;
    CHECK(state.contains("layer1.0.conv1.attention.fc.bias") == trunk_folds);
    for (const auto& [name, tensor] : state) {
      const bool norm = name.find("bn") != std::string::npos || name.find("downsample.1") != std::string::npos;
      CHECK((!norm || config.attention_norm == AttentionNorm::layer));
    }
  }
}

TEST_CASE("a folded file tells its model, and a folded model is folded once", "[folding]") {
  for (const ModelConfig& config : configs) {
    const auto folded = fold(Model(config, 0));
    CHECK(config_from_file(folded->store.state(), to_metadata(folded->config), "test") == folded->config);
    const ModelConfig inferred = config_from_file(folded->store.state(), {}, "test");
    CHECK(inferred.folded);
    CHECK(Model(inferred, 0).store.parameter_count() == folded->store.parameter_count());
    CHECK_THROWS_WITH(fold(*folded), ContainsSubstring("[fold] expected a model with batch norms, got a folded one"));
  }
}

TEST_CASE("the graph of a net lists its layers and who reads what", "[graph]") {
  const Model model({.model = "od_resnet18", .width = 8, .kernels = 2}, 0);
  const Graph graph = model.graph(16, 16);
  const auto& nodes = graph.nodes();
  REQUIRE(nodes.size() == 1 + 16 + 3 + 2);  // stem, two per block, shortcuts, pool and classifier
  CHECK(nodes[0].convolution->prefix() == "conv1.");
  CHECK(nodes[1].convolution->norm_prefix() == "layer1.0.bn1.");
  CHECK(nodes[1].input == nodes[0].output);
  CHECK(nodes[2].residual == nodes[0].output);
  CHECK(graph.last_reader(nodes[0].output) == 2);
  CHECK(nodes[6].convolution->prefix() == "layer2.0.downsample.0.");
  CHECK_FALSE(nodes[6].relu);
  CHECK(graph.shape(nodes[6].output) == Shape{1, 8, 8, 16});
  CHECK(nodes.back().operation == GraphNode::Operation::linear);
  CHECK(graph.last_reader(nodes.back().output) == GraphNode::none);

  Graph recorded(Variable(uniform_tensor<float>({1, 4}, 1)));
  const Variable foreign(uniform_tensor<float>({1, 4}, 2));
  CHECK_THROWS_WITH(recorded.add_average_pool(foreign, foreign), ContainsSubstring("[graph] expected values"));
}

}  // namespace
}  // namespace omniconv
