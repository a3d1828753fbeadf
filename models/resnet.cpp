#include "models/resnet.h"

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

std::unique_ptr<ConvLayer> make_conv(const ModelConfig& config, ParameterStore& store, const std::string& prefix,
                                     std::int64_t in_channels, std::int64_t out_channels, std::int64_t kernel_size,
                                     std::int64_t stride) {
  const Conv2dParams params{.stride = stride, .padding = kernel_size / 2, .dilation = 1, .groups = 1};
  const bool shortcut = kernel_size == 1;
  if (!config.dynamic() || (shortcut && config.downsample == Downsample::fixed))
    return std::make_unique<Conv2d>(store, prefix, in_channels, out_channels, kernel_size, params);
  const ODConvOptions options{.kernels = shortcut ? 1 : config.kernels,
                              .reduction = config.reduction,
                              .norm = config.attention_norm,
                              .init = config.attention_init};
  return std::make_unique<ODConv2d>(store, prefix, in_channels, out_channels, kernel_size, params, options);
}

const ModelConfig& checked(const ModelConfig& config) {
  check(config);
  return config;
}

}  // namespace

bool ModelConfig::dynamic() const { return stages_of(model).dynamic; }

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
  require(config.width >= 8 && config.width % 8 == 0 && config.width <= 4096,
          "a width that is a multiple of 8, got ", config.width);
  require(config.kernels >= 1 && config.kernels <= 16, "1 to 16 kernels, got ", config.kernels);
  require(stages.dynamic || config.kernels == 1, "1 kernel for the static model ", config.model, ", got ",
          config.kernels);
  require(config.reduction > 0 && config.reduction <= 1, "a reduction in (0, 1], got ", config.reduction);
  require(config.classes >= 2 && config.classes <= 256, "2 to 256 classes, got ", config.classes);
}

/// relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)), the shortcut being x itself or bn(1x1 convolution).
class ResNet::BasicBlock {
 public:
  BasicBlock(const ModelConfig& config, ParameterStore& store, const std::string& prefix, std::int64_t in_channels,
             std::int64_t out_channels, std::int64_t stride)
      : conv1_(make_conv(config, store, prefix + "conv1.", in_channels, out_channels, 3, stride)),
        bn1_(store, prefix + "bn1.", out_channels),
        conv2_(make_conv(config, store, prefix + "conv2.", out_channels, out_channels, 3, 1)),
        bn2_(store, prefix + "bn2.", out_channels) {
    if (stride == 1 && in_channels == out_channels) return;
    shortcut_conv_ = make_conv(config, store, prefix + "downsample.0.", in_channels, out_channels, 1, stride);
    shortcut_bn_ = std::make_unique<BatchNorm>(store, prefix + "downsample.1.", out_channels);
  }

  Variable forward(const Pass& pass, const Variable& input) const {
    const Variable hidden = bn1_.forward(pass, conv1_->forward(pass, input), true);
    const Variable output = conv2_->forward(pass, hidden);
    const Variable shortcut =
        shortcut_conv_ ? shortcut_bn_->forward(pass, shortcut_conv_->forward(pass, input), false) : input;
    return bn2_.forward(pass, output, true, shortcut);
  }

 private:
  std::unique_ptr<ConvLayer> conv1_;
  BatchNorm bn1_;
  std::unique_ptr<ConvLayer> conv2_;
  BatchNorm bn2_;
  std::unique_ptr<ConvLayer> shortcut_conv_;
  std::unique_ptr<BatchNorm> shortcut_bn_;
};

ResNet::ResNet(const ModelConfig& config, ParameterStore& store)
    : conv1_(store, "conv1.", image_channels, config.width, 3, {.stride = 1, .padding = 1}),
      bn1_(store, "bn1.", config.width) {
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
  Variable hidden = bn1_.forward(pass, conv1_.forward(pass, images), true);
  for (const auto& block : blocks_) hidden = block->forward(pass, hidden);
  return fc_->forward(pass, ops::global_average_pool(pass.tape, hidden));
}

Model::Model(const ModelConfig& config, std::uint64_t seed, DType dtype)
    : config(checked(config)), store(dtype, seed), net(config, store), temperature(Tensor::zeros({1}, DType::f64)) {
  store.allocate();
  set_temperature(1);
}

void Model::set_temperature(double value) const {
  expect(value > 0 && value < 1e30, "temperature", "expected a finite temperature above 0, got ", value);
  temperature.copy_from_host(&value);
}

}  // namespace omniconv
