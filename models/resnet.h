// ResNets in their CIFAR form and in that of ImageNet, static and with ODConv.
//
// A stem of `width` channels with BN and ReLU; four stages of 1, 2, 4 and 8 times the width, of basic blocks or of
// bottlenecks with four times as many channels at their end; global average pool; dropout; linear. The stem is a 3x3
// convolution of stride 1, or the official one: 7x7 of stride 2 and a 3x3 max-pool of stride 2. In the dynamic form
// every convolution of a block's main path is an ODConv with K kernels, and every 1x1 down-sampling convolution an
// ODConv with K = 1, or static, as the official models have it. He et al. 2016; Li et al. 2022.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/host_tensor.h"
#include "layers/graph.h"
#include "layers/od_conv.h"

namespace omniconv {

/// What the 1x1 convolution of a block's shortcut is, in a dynamic net.
enum class Downsample { odconv, fixed };

/// How a net begins.
enum class Stem {
  cifar,     ///< 3x3 convolution of stride 1
  imagenet,  ///< 7x7 convolution of stride 2, 3x3 max-pool of stride 2
};

/// @throws UsageError for another word.
Downsample parse_downsample(std::string_view text);
Stem parse_stem(std::string_view text);
std::string_view name_of(Downsample downsample);
std::string_view name_of(Stem stem);

/// What a model's name stands for.
struct Architecture {
  std::string_view name;
  bool dynamic;
  bool bottleneck;
  std::array<std::int64_t, 4> blocks;  ///< of each stage

  /// Channels at the end of a block over those within.
  std::int64_t expansion() const { return bottleneck ? 4 : 1; }
};

/// All that there are.
std::span<const Architecture> architectures();

/// Everything that determines a model's parameters and function, but for their values.
struct ModelConfig {
  std::string model = "od_resnet18";  ///< the name of an architecture
  std::int64_t width = 64;            ///< channels of the stem, a multiple of 8
  std::int64_t kernels = 4;           ///< K; 1 for static models
  double reduction = 0.0625;
  Downsample downsample = Downsample::odconv;
  std::int64_t classes = 10;
  AttentionNorm attention_norm = AttentionNorm::batch;
  AttentionInit attention_init = AttentionInit::kaiming;
  Stem stem = Stem::cifar;
  std::int64_t image_size = 32;  ///< height and width of the images it is meant for; it computes any
  double dropout = 0;            ///< probability before the classifier
  bool folded = false;  ///< batch norms are part of the convolutions before them (models/folding.h): for inference
  std::vector<std::string> class_names = {};  ///< [classes], each on one line, or empty where they are not known

  /// @throws UsageError for an unknown model.
  const Architecture& architecture() const;
  bool dynamic() const { return architecture().dynamic; }
  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

/// "resnet18, resnet34, ...": all models.
std::string model_names();

/// What `model` is in the form of this stem unless asked otherwise. Dynamic models have K = 4; in ImageNet's form they
/// have the official static down-sampling and dropout 0.1, and all have 1000 classes and images of 224.
/// @throws UsageError for an unknown model.
ModelConfig default_config(const std::string& model, Stem stem);

/// "od_resnet18, width 16, K = 4" and, where they are not the usual ones, its other traits.
std::string describe(const ModelConfig& config);

/// The configuration of a dynamic model's static twin.
ModelConfig static_config(ModelConfig config);

/// @throws UsageError for an unknown model, a width that is no multiple of 8, kernels outside [1, 16], kernels above 1
/// with a static model, a reduction outside (0, 1], fewer than 2 classes, class names of another number, an image size
/// outside [8, 4096], a dropout outside [0, 1).
void check(const ModelConfig& config);

/// The configuration as strings for a checkpoint's metadata, and that of a file: model, width, K, classes, stem,
/// down-sampling and whether it is folded are what names and shapes of the tensors say, whatever the metadata say; the
/// rest, which shapes do not show, is the metadata's or the usual one, a reduction only where it gives the shapes.
/// @throws Error for tensors or values that do not make a model.
std::map<std::string, std::string> to_metadata(const ModelConfig& config);
ModelConfig config_from_file(const std::map<std::string, HostTensor>& tensors,
                             const std::map<std::string, std::string>& metadata, const std::string& source);

/// Tensor names without a leading "module.".
std::map<std::string, HostTensor> without_module_prefix(std::map<std::string, HostTensor> tensors);

class Block;

class ResNet {
 public:
  /// Declares all parameters in `store`, which must outlive the net and be allocated before forward().
  ResNet(const ModelConfig& config, ParameterStore& store);
  ~ResNet();

  /// images [N, H, W, 3], H and W at least 8 -> logits [N, classes].
  Variable forward(const Pass& pass, const Variable& images) const;

  /// Multiply-accumulates for one image of `height` x `width` pixels.
  Cost cost(std::int64_t height, std::int64_t width) const;

 private:
  NormedConv conv1_;
  bool max_pool_;
  std::vector<std::unique_ptr<Block>> blocks_;
  Dropout dropout_;
  std::unique_ptr<Linear> fc_;
};

/// A model with its parameters, ready to run.
struct Model {
  ModelConfig config;
  ParameterStore store;
  ResNet net;
  Tensor temperature = Tensor::zeros({1}, DType::f64);  ///< on the device
  Tensor step = Tensor::zeros({1}, DType::i64);         ///< on the device

  /// `precision` is the type of its activations (f32, f64, bf16, f16). @throws UsageError as check(). Initial values
  /// depend on the seed and on nothing else.
  Model(const ModelConfig& config, std::uint64_t seed, DType precision = DType::f32);
  /// With the state of a file in place of initial values. @throws Error as ParameterStore::load_state(), before memory
  /// is asked for: what a few bytes of a file claim costs none.
  Model(const ModelConfig& config, const std::map<std::string, HostTensor>& state, const std::string& source,
        DType precision);

  /// @throws Error unless is_temperature(value).
  void set_temperature(double value) const;
  /// Number of training batches before the coming one: what dropout draws by, so that no two batches draw the same.
  void set_step(std::int64_t value) const;
  /// A pass over this model's parameters with its temperature and step.
  Pass pass(Tape& tape, bool training) const { return {tape, training, temperature, nullptr, step}; }
  /// What the net consists of; its shapes are those of one image of `height` x `width` pixels.
  Graph graph(std::int64_t height = 32, std::int64_t width = 32) const;
};

}  // namespace omniconv
