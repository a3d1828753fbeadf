// ResNets of basic blocks in their CIFAR form, static and with ODConv.
//
// 3x3 stem of `width` channels, stride 1, no max-pool, BN, ReLU; four stages of 1, 2, 4 and 8 times the width; global
// average pool; linear. In the dynamic form every 3x3 convolution of the stages is an ODConv with K kernels and every
// 1x1 down-sampling convolution an ODConv with K = 1 (or static, the official variant). He et al. 2016; Li et al. 2022.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/host_tensor.h"
#include "layers/graph.h"
#include "layers/od_conv.h"

namespace omniconv {

/// What the 1x1 convolution of a block's shortcut is, in a dynamic net.
enum class Downsample { odconv, fixed };

/// Everything that determines a model's parameters and function, but for their values.
struct ModelConfig {
  std::string model = "od_resnet18";  ///< resnet18, resnet34, od_resnet18, od_resnet34
  std::int64_t width = 64;            ///< channels of the stem, a multiple of 8
  std::int64_t kernels = 4;           ///< K; 1 for static models
  double reduction = 0.0625;
  Downsample downsample = Downsample::odconv;
  std::int64_t classes = 10;
  AttentionNorm attention_norm = AttentionNorm::batch;
  AttentionInit attention_init = AttentionInit::kaiming;
  bool folded = false;  ///< batch norms are part of the convolutions before them (models/folding.h): for inference
  std::vector<std::string> class_names = {};  ///< [classes], each on one line, or empty where they are not known

  bool dynamic() const;
  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

/// Names of all models.
const std::vector<std::string>& model_names();

/// @throws UsageError for an unknown model, a width that is no multiple of 8, kernels outside [1, 16], kernels above 1
/// with a static model, a reduction outside (0, 1], fewer than 2 classes, class names of
/// another number.
void check(const ModelConfig& config);

/// The configuration as strings for a checkpoint's metadata, and back. What is absent is inferred from names and shapes
/// by infer_config. @throws Error for values that do not make a model.
std::map<std::string, std::string> to_metadata(const ModelConfig& config);
ModelConfig config_from_file(const std::map<std::string, HostTensor>& tensors,
                             const std::map<std::string, std::string>& metadata, const std::string& source);

/// Tensor names without a leading "module.".
std::map<std::string, HostTensor> without_module_prefix(std::map<std::string, HostTensor> tensors);

class BasicBlock;

class ResNet {
 public:
  /// Declares all parameters in `store`, which must outlive the net and be allocated before forward().
  ResNet(const ModelConfig& config, ParameterStore& store);
  ~ResNet();

  /// images [N, 32, 32, 3] (any extent of at least 8) -> logits [N, classes].
  Variable forward(const Pass& pass, const Variable& images) const;

  /// Multiply-accumulates for one image of `height` x `width` pixels.
  Cost cost(std::int64_t height, std::int64_t width) const;

 private:
  NormedConv conv1_;
  std::vector<std::unique_ptr<BasicBlock>> blocks_;
  std::unique_ptr<Linear> fc_;
};

/// A model with its parameters, ready to run.
struct Model {
  ModelConfig config;
  ParameterStore store;
  ResNet net;
  Tensor temperature;  ///< f64 [1] on the device

  /// `precision` is the type of its activations (f32, f64, bf16, f16). @throws UsageError as check(). Initial values
  /// depend on the seed and on nothing else.
  Model(const ModelConfig& config, std::uint64_t seed, DType precision = DType::f32);

  void set_temperature(double value) const;
  /// A pass over this model's parameters with its temperature.
  Pass pass(Tape& tape, bool training) const { return {tape, training, temperature, nullptr}; }
  /// What the net consists of; its shapes are those of one image of `height` x `width` pixels.
  Graph graph(std::int64_t height = 32, std::int64_t width = 32) const;
};

}  // namespace omniconv
