// Layers: parameters under PyTorch's names, and the operation that uses them.
//
// A layer declares its parameters in a store at construction and holds them by handle; forward() is const. `prefix` is
// the layer's name with its trailing dot ("layer1.0.conv1.").
#pragma once

#include <string>

#include "engine/autograd.h"
#include "engine/ops/functions.h"
#include "engine/parameters.h"

namespace omniconv {

/// What a forward pass needs besides the input.
struct Pass {
  Tape& tape;
  bool training = false;
  Tensor temperature;  ///< of the attentions, f64 [1] on the device; may be undefined for static models
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

/// A convolution of either kind: output [N, OH, OW, O] of input [N, H, W, I].
class ConvLayer {
 public:
  virtual ~ConvLayer() = default;
  virtual Variable forward(const Pass& pass, const Variable& input) const = 0;
  /// All extents for one image of `height` x `width` pixels.
  virtual ConvShape shape(std::int64_t height, std::int64_t width) const = 0;
  virtual Cost cost(std::int64_t height, std::int64_t width) const = 0;
};

/// Static convolution without bias; weight [O, R, S, I/g], Kaiming normal, fan-out.
class Conv2d : public ConvLayer {
 public:
  /// `kernel_size` is R = S. @throws Error for extents below 1 or channels that the groups do not divide.
  Conv2d(ParameterStore& store, const std::string& prefix, std::int64_t in_channels, std::int64_t out_channels,
         std::int64_t kernel_size, const Conv2dParams& params);
  Variable forward(const Pass& pass, const Variable& input) const override;
  ConvShape shape(std::int64_t height, std::int64_t width) const override;
  Cost cost(std::int64_t height, std::int64_t width) const override;

 private:
  Conv2dParams params_;
  Variable weight_;
};

/// Batch norm over all axes but the last, optionally followed by residual add and ReLU.
class BatchNorm {
 public:
  BatchNorm(ParameterStore& store, const std::string& prefix, std::int64_t channels);
  /// relu(norm(input) + residual), without what is not asked for. In training the batch's statistics are used and the
  /// running ones move, unless `frozen`.
  Variable forward(const Pass& pass, const Variable& input, bool relu, const Variable& residual = {},
                   bool frozen = false) const;
  /// relu?(layer norm of input [N, C]) with this layer's parameters: no sample sees another, no statistics move.
  Variable forward_by_sample(const Pass& pass, const Variable& input, bool relu) const;

 private:
  Variable gamma_, beta_, running_mean_, running_var_;
  std::int64_t* batches_tracked_;
};

/// output [N, O] = input [N, I] · weightᵀ + bias; weight N(0, deviation), bias 0.
class Linear {
 public:
  Linear(ParameterStore& store, const std::string& prefix, std::int64_t in_features, std::int64_t out_features,
         double deviation);
  Variable forward(const Pass& pass, const Variable& input) const;
  Cost cost() const;

 private:
  Variable weight_, bias_;
};

/// Multiply-accumulates of one image in a convolution without its attention.
std::int64_t convolution_cost(const ConvShape& shape);

/// @throws Error unless extents are at least 1 and the groups divide the channels.
void check_convolution(std::string_view where, std::int64_t in_channels, std::int64_t out_channels,
                       std::int64_t kernel_size, const Conv2dParams& params);

}  // namespace omniconv
