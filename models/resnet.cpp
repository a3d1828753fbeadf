#include "models/resnet.h"

#include "models/basic_block.h"

namespace omniconv {

namespace {

constexpr std::int64_t image_channels = 3;
constexpr double classifier_deviation = 0.01;

struct Stages {
  const char* name;
  std::array<int, 4> blocks;
  bool dynamic;
};

constexpr Stages known_models[] = {
    {"resnet18", {2, 2, 2, 2}, false},
    {"resnet34", {3, 4, 6, 3}, false},
    {"od_resnet18", {2, 2, 2, 2}, true},
    {"od_resnet34", {3, 4, 6, 3}, true},
};

const Stages& stages_of(const std::string& model) {
  for (const Stages& stages : known_models)
    if (model == stages.name) return stages;
  std::string names;
  for (const std::string& name : model_names()) names += (names.empty() ? "" : ", ") + name;
  throw UsageError(concat("[model] expected one of ", names, ", got ", model));
}

const ModelConfig& checked(const ModelConfig& config) {
  check(config);
  return config;
}

}  // namespace

bool ModelConfig::dynamic() const {
  return stages_of(model).dynamic;
}

const std::vector<std::string>& model_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Stages& stages : known_models) all.emplace_back(stages.name);
    return all;
  }();
  return names;
}

void check(const ModelConfig& config) {
  const auto require = [](bool condition, const auto&... parts) {
    if (!condition) throw UsageError(concat("[model] expected ", parts...));
  };
  const Stages& stages = stages_of(config.model);
  require(config.width >= 8 && config.width % 8 == 0 && config.width <= 4096, "a width that is a multiple of 8, got ",
          config.width);
  require(config.kernels >= 1 && config.kernels <= 16, "1 to 16 kernels, got ", config.kernels);
  require(stages.dynamic || config.kernels == 1, "1 kernel for the static model ", config.model, ", got ",
          config.kernels);
  require(config.reduction > 0 && config.reduction <= 1, "a reduction in (0, 1], got ", config.reduction);
  require(config.classes >= 2 && config.classes <= 256, "2 to 256 classes, got ", config.classes);
  require(config.class_names.empty() || static_cast<std::int64_t>(config.class_names.size()) == config.classes,
          config.classes, " class names, got ", config.class_names.size());
}

ResNet::ResNet(const ModelConfig& config, ParameterStore& store)
    : conv1_(store, "conv1.", "bn1.",
             std::make_unique<Conv2d>(store, "conv1.", image_channels, config.width, 3,
                                      Conv2dParams{.stride = 1, .padding = 1}),
             config.width, config.folded) {
  const Stages& stages = stages_of(config.model);
  std::int64_t channels = config.width;
  for (std::size_t stage = 0; stage < stages.blocks.size(); ++stage) {
    const std::int64_t out_channels = config.width << stage;
    for (int block = 0; block < stages.blocks[stage]; ++block) {
      const std::int64_t stride = stage > 0 && block == 0 ? 2 : 1;
      blocks_.push_back(std::make_unique<BasicBlock>(config, store, concat("layer", stage + 1, '.', block, '.'),
                                                     channels, out_channels, stride));
      channels = out_channels;
    }
  }
  fc_ = std::make_unique<Linear>(store, "fc.", channels, config.classes, classifier_deviation);
}

ResNet::~ResNet() = default;

Variable ResNet::forward(const Pass& pass, const Variable& images) const {
  Variable hidden = conv1_.forward(pass, images, true);
  for (const auto& block : blocks_) hidden = block->forward(pass, hidden);
  return fc_->forward(pass, global_average_pool(pass, hidden));
}

Cost ResNet::cost(std::int64_t height, std::int64_t width) const {
  Cost cost = conv1_.conv().cost(height, width);
  for (const auto& block : blocks_) cost += block->cost(height, width);
  cost += fc_->cost();
  return cost;
}

Model::Model(const ModelConfig& config, std::uint64_t seed, DType precision)
    : config(checked(config)), store(precision, seed), net(config, store), temperature(Tensor::zeros({1}, DType::f64)) {
  store.allocate();
  set_temperature(1);
}

Graph Model::graph(std::int64_t height, std::int64_t width) const {
  const Variable image(Tensor::zeros({1, height, width, image_channels}, store.precision()));
  Graph graph(image);
  Tape tape(false);
  Pass recording = pass(tape, false);
  recording.graph = &graph;
  net.forward(recording, image);
  return graph;
}

void Model::set_temperature(double value) const {
  expect(value > 0 && value < 1e30, "temperature", "expected a finite temperature above 0, got ", value);
  temperature.copy_from_host(&value);
}

}  // namespace omniconv
