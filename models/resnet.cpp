#include "models/resnet.h"

#include "engine/files.h"
#include "engine/schedule.h"
#include "engine/usage.h"
#include "models/block.h"

namespace omniconv {

namespace {

constexpr std::int64_t image_channels = 3;
constexpr double classifier_standard_deviation = 0.01;

constexpr Architecture known_architectures[] = {
    {"resnet18", false, false, {2, 2, 2, 2}},   {"resnet34", false, false, {3, 4, 6, 3}},
    {"resnet50", false, true, {3, 4, 6, 3}},    {"resnet101", false, true, {3, 4, 23, 3}},
    {"od_resnet18", true, false, {2, 2, 2, 2}}, {"od_resnet34", true, false, {3, 4, 6, 3}},
    {"od_resnet50", true, true, {3, 4, 6, 3}},  {"od_resnet101", true, true, {3, 4, 23, 3}},
};

const ModelConfig& checked(const ModelConfig& config) {
  check(config);
  return config;
}

NormedConv make_stem(const ModelConfig& config, ParameterStore& store) {
  const bool cifar = config.stem == Stem::cifar;
  const Conv2dParams params = cifar ? Conv2dParams{.stride = 1, .padding = 1} : Conv2dParams{.stride = 2, .padding = 3};
  auto conv = std::make_unique<Conv2d>(store, "conv1.", image_channels, config.width, cifar ? 3 : 7, params);
  return {store, "conv1.", "bn1.", std::move(conv), config.width, config.folded, config.dynamic() && cifar};
}

}  // namespace

Downsample parse_downsample(std::string_view text) {
  if (text == "odconv") return Downsample::odconv;
  if (text == "static") return Downsample::fixed;
  throw UsageError(concat("[downsample] expected odconv or static, got ", in_quotes(text)));
}

Stem parse_stem(std::string_view text) {
  if (text == "cifar") return Stem::cifar;
  if (text == "imagenet") return Stem::imagenet;
  throw UsageError(concat("[stem] expected cifar or imagenet, got ", in_quotes(text)));
}

std::string_view name_of(Downsample downsample) {
  return downsample == Downsample::odconv ? "odconv" : "static";
}

std::string_view name_of(Stem stem) {
  return stem == Stem::cifar ? "cifar" : "imagenet";
}

std::span<const Architecture> architectures() {
  return known_architectures;
}

const Architecture& ModelConfig::architecture() const {
  for (const Architecture& known : known_architectures)
    if (model == known.name) return known;
  throw UsageError(concat("[model] expected one of ", model_names(), ", got ", model));
}

std::string model_names() {
  std::vector<std::string> names;
  for (const Architecture& known : known_architectures) names.emplace_back(known.name);
  return joined(names, ", ");
}

ModelConfig default_config(const std::string& model, Stem stem) {
  ModelConfig config{.model = model, .stem = stem};
  if (!config.dynamic()) config.kernels = 1;
  if (stem == Stem::cifar) return config;
  config.classes = 1000;
  config.image_size = 224;
  if (config.dynamic()) {
    config.downsample = Downsample::fixed;
    config.dropout = 0.1;
  }
  return config;
}

std::string describe(const ModelConfig& config) {
  std::string text = concat(config.model, ", width ", config.width);
  const ModelConfig usual = default_config(config.model, config.stem);
  if (config.stem == Stem::imagenet) text += ", ImageNet's stem";
  if (config.dynamic()) {
    text += concat(", K = ", config.kernels);
    if (config.downsample != usual.downsample)
      text += config.downsample == Downsample::fixed ? ", static down-sampling" : ", ODConv down-sampling";
    if (config.reduction != usual.reduction) text += concat(", reduction ", config.reduction);
  }
  if (config.folded) text += ", folded";
  if (config.dropout > 0) text += concat(", dropout ", config.dropout);
  return config.classes == usual.classes ? text : concat(text, ", ", config.classes, " classes");
}

ModelConfig static_config(ModelConfig config) {
  const ModelConfig usual;
  config.model = config.model.substr(std::string_view("od_").size());
  config.kernels = 1;
  config.reduction = usual.reduction;
  config.downsample = usual.downsample;
  config.attention_norm = usual.attention_norm;
  config.attention_init = usual.attention_init;
  return config;
}

void check(const ModelConfig& config) {
  constexpr std::string_view where = "model";
  const bool dynamic = config.dynamic();
  require_in(where, config.width >= 8 && config.width % 8 == 0 && config.width <= 4096,
             "a width that is a multiple of 8, got ", config.width);
  require_in(where, config.kernels >= 1 && config.kernels <= most_kernels, "1 to ", most_kernels, " kernels, got ",
             config.kernels);
  require_in(where, dynamic || config.kernels == 1, "1 kernel for the static model ", config.model, ", got ",
             config.kernels);
  require_in(where, config.reduction > 0 && config.reduction <= 1, "a reduction in (0, 1], got ", config.reduction);
  constexpr std::int64_t most_classes = 100'000;
  require_in(where, config.classes >= 2 && config.classes <= most_classes, "2 to ", most_classes, " classes, got ",
             config.classes);
  require_in(where,
             config.class_names.empty() || static_cast<std::int64_t>(config.class_names.size()) == config.classes,
             config.classes, " class names, got ", config.class_names.size());
  require_in(where, config.image_size >= 8 && config.image_size <= 4096, "an image size of 8 to 4096, got ",
             config.image_size);
  require_in(where, config.dropout >= 0 && config.dropout < 1, "a dropout in [0, 1), got ", config.dropout);
}

ResNet::ResNet(const ModelConfig& config, ParameterStore& store)
    : conv1_(make_stem(config, store)),
      max_pool_(config.stem == Stem::imagenet),
      dropout_(config.dropout, store.seed()) {
  std::int64_t channels = config.width;
  for (std::size_t stage = 0; stage < config.architecture().blocks.size(); ++stage) {
    for (std::int64_t block = 0; block < config.architecture().blocks[stage]; ++block) {
      const std::int64_t stride = stage > 0 && block == 0 ? 2 : 1;
      blocks_.push_back(std::make_unique<Block>(config, store, concat("layer", stage + 1, '.', block, '.'), channels,
                                                config.width << stage, stride));
      channels = blocks_.back()->out_channels();
    }
  }
  fc_ = std::make_unique<Linear>(store, "fc.", channels, config.classes, classifier_standard_deviation);
}

ResNet::~ResNet() = default;

Variable ResNet::forward(const Pass& pass, const Variable& images) const {
  Variable hidden = conv1_.forward(pass, images, true);
  if (max_pool_) hidden = max_pool(pass, hidden);
  for (const auto& block : blocks_) hidden = block->forward(pass, hidden);
  return fc_->forward(pass, dropout_.forward(pass, global_average_pool(pass, hidden)));
}

Cost ResNet::cost(std::int64_t height, std::int64_t width) const {
  Cost cost = conv1_.conv().cost(height, width);
  const ConvShape stem = conv1_.conv().shape(height, width);
  height = stem.out_height();
  width = stem.out_width();
  if (max_pool_) {
    const kernels::MaxPoolShape pool{1, height, width, 1};
    height = pool.out_height();
    width = pool.out_width();
  }
  for (const auto& block : blocks_) cost += block->cost(height, width);
  cost += fc_->cost();
  return cost;
}

Model::Model(const ModelConfig& config, std::uint64_t seed, DType precision)
    : config(checked(config)), store(precision, seed), net(config, store) {
  store.allocate();
  set_temperature(1);
}

Model::Model(const ModelConfig& config, const std::map<std::string, HostTensor>& state, const std::string& source,
             DType precision)
    : config(checked(config)), store(precision, 0), net(config, store) {
  store.allocate(state, source);
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
  expect(is_temperature(value), "temperature", "expected a finite temperature above 0, got ", value);
  temperature.copy_from_host(&value);
}

void Model::set_step(std::int64_t value) const {
  step.copy_from_host(&value);
}

}  // namespace omniconv
