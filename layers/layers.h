// Layers: parameters under PyTorch's names, and the operation that uses them.
//
// A layer declares its parameters in a store at construction and holds them by handle; forward() is const. `prefix` is
// the layer's name with its trailing dot ("layer1.0.conv1.").
#pragma once

#include <memory>
#include <string>

#include "engine/autograd.h"
#include "engine/ops/functions.h"
#include "engine/parameters.h"

namespace omniconv {

class Graph;

/// What a forward pass needs besides the input.
struct Pass {
  Tape& tape;
  bool training = false;
  Tensor temperature;      ///< of the attentions, f64 [1] on the device; may be undefined for static models
  Graph* graph = nullptr;  ///< where the layers leave a record of themselves, if wanted (layers/graph.h)
  Tensor step{};           ///< finished training batches, i64 [1] on the device: what dropout draws by
};

/// Multiply-accumulates of a forward pass over one image, by what they are for. Norms, activations and pools are not
/// counted.
struct Cost {
  std::int64_t convolution = 0;  ///< what the static twin does as well, classifier included
  std::int64_t attention = 0;    ///< trunk and heads
  std::int64_t aggregation = 0;  ///< Σ_k p_k s ⊙ W_k
  std::int64_t scaling = 0;      ///< x ⊙ c and f ⊙ y

  std::int64_t total() const { return convolution + attention + aggregation + scaling; }
  Cost& operator+=(const Cost& other);
};

/// A convolution of either kind: output [N, OH, OW, O] of input [N, H, W, I]. With `normed` a norm comes next that
/// takes the output's statistics.
class ConvLayer {
 public:
  virtual ~ConvLayer() = default;
  virtual Variable forward(const Pass& pass, const Variable& input, bool normed = false) const = 0;
  /// All extents for one image of `height` x `width` pixels.
  virtual ConvShape shape(std::int64_t height, std::int64_t width) const = 0;
  virtual Cost cost(std::int64_t height, std::int64_t width) const = 0;
  /// [O, R, S, I/g], or [K, O, R, S, I/g] of a dynamic one.
  virtual const Variable& weight() const = 0;
};

/// Static convolution without bias; weight [O, R, S, I/g], Kaiming normal, fan-out.
class Conv2d : public ConvLayer {
 public:
  /// `kernel_size` is R = S. @throws Error for extents below 1 or channels that the groups do not divide.
  Conv2d(ParameterStore& store, const std::string& prefix, std::int64_t in_channels, std::int64_t out_channels,
         std::int64_t kernel_size, const Conv2dParams& params);
  Variable forward(const Pass& pass, const Variable& input, bool normed = false) const override;
  ConvShape shape(std::int64_t height, std::int64_t width) const override;
  Cost cost(std::int64_t height, std::int64_t width) const override;
  const Variable& weight() const override { return weight_; }

 private:
  std::string prefix_;
  ConvShape shape_;  // but for the image
  Variable weight_;
};

/// Batch norm over all axes but the last, optionally followed by residual add and ReLU.
class BatchNorm {
 public:
  BatchNorm(ParameterStore& store, const std::string& prefix, std::int64_t channels);
  /// relu(norm(input) + residual), without what is not asked for. In training the batch's statistics are used and the
  /// running ones move, unless `frozen`. With `pool` the output's global average pool is computed on the side.
  Variable forward(const Pass& pass, const Variable& input, bool relu, const Variable& residual = {},
                   bool frozen = false, bool pool = false) const;
  /// relu?(layer norm of input [N, C]) with this layer's parameters: no sample sees another, no statistics move.
  Variable forward_by_sample(const Pass& pass, const Variable& input, bool relu) const;

  /// How forward() normalises; what reads the norm's parameters itself does it likewise.
  ops::BatchNormMode mode(const Pass& pass, bool frozen) const;

  /// Sets the running statistics to those of `input` [..., C]: its mean and unbiased variance over all rows.
  void estimate_statistics(const Variable& input) const;

  const Variable& gamma() const { return gamma_; }
  const Variable& beta() const { return beta_; }
  const Variable& running_mean() const { return running_mean_; }
  const Variable& running_var() const { return running_var_; }

 private:
  std::string prefix_;
  Variable gamma_, beta_, running_mean_, running_var_, batches_tracked_;
};

/// output [N, O] = input [N, I] · weightᵀ + bias; weight N(0, standard_deviation²), bias 0.
class Linear {
 public:
  Linear(ParameterStore& store, const std::string& prefix, std::int64_t in_features, std::int64_t out_features,
         double standard_deviation);
  Variable forward(const Pass& pass, const Variable& input) const;
  Cost cost() const;

  const Variable& weight() const { return weight_; }
  const Variable& bias() const { return bias_; }
  const std::string& prefix() const { return prefix_; }

 private:
  std::string prefix_;
  std::int64_t weight_count_;
  Variable weight_, bias_;
};

/// relu?(norm(conv(input)) + residual?): a convolution and the batch norm behind it; in a folded model the convolution
/// and the bias that the norm has become.
class NormedConv {
 public:
  /// `prefix` is that of the convolution, `norm_prefix` ("bn1.") that of the norm, which a folded one does not have.
  /// With `pooled` the output is one that a global average pool is taken of, as attentions do.
  NormedConv(ParameterStore& store, const std::string& prefix, const std::string& norm_prefix,
             std::unique_ptr<ConvLayer> conv, std::int64_t out_channels, bool folded, bool pooled);

  /// input [N, H, W, I] -> [N, OH, OW, O]; residual like the output, or empty.
  Variable forward(const Pass& pass, const Variable& input, bool relu, const Variable& residual = {}) const;

  const ConvLayer& conv() const { return *conv_; }
  /// The norm, or nullptr, and the bias, or an empty variable: one of the two.
  const BatchNorm* norm() const { return norm_.get(); }
  const Variable& bias() const { return bias_; }
  /// "layer1.0.conv1." and "layer1.0.bn1."
  const std::string& prefix() const { return prefix_; }
  const std::string& norm_prefix() const { return norm_prefix_; }

 private:
  std::string prefix_, norm_prefix_;
  std::unique_ptr<ConvLayer> conv_;
  std::unique_ptr<BatchNorm> norm_;
  Variable bias_;
  bool pooled_;
};

/// output [N, OH, OW, C] = the largest pixels of overlapping 3x3 windows of input [N, H, W, C], 2 apart.
Variable max_pool(const Pass& pass, const Variable& input);

/// output [N, C] = mean over the pixels of input [N, H, W, C].
Variable global_average_pool(const Pass& pass, const Variable& input);

/// Sets elements to zero with a probability in training, and scales the others up; in evaluation the identity.
class Dropout {
 public:
  /// `seed` and the pass's step decide which elements. @throws Error for a probability outside [0, 1).
  Dropout(double probability, std::uint64_t seed);
  Variable forward(const Pass& pass, const Variable& input) const;

 private:
  double probability_;
  std::uint64_t seed_;
};

/// Multiply-accumulates of one image in a convolution without its attention.
std::int64_t convolution_cost(const ConvShape& shape);

/// `shape` for one image of `height` x `width` pixels.
ConvShape at_image(ConvShape shape, std::int64_t height, std::int64_t width);

/// @throws Error unless extents are at least 1 and the groups divide the channels.
void check_convolution(std::string_view where, std::int64_t in_channels, std::int64_t out_channels,
                       std::int64_t kernel_size, const Conv2dParams& params);

}  // namespace omniconv
