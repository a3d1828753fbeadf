#include "models/inference.h"

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "engine/conv/prepared_conv.h"
#include "engine/device.h"
#include "engine/library/gemm.h"
#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/max_pool.h"
#include "kernels/layer_norm.h"
#include "kernels/pooling.h"

namespace omniconv {

namespace {

constexpr const char* where = "inference";

std::int64_t elements_per_sample(const Shape& shape) {
  return element_count(shape) / shape.front();
}

/// output[n] = weight [O, I] · input[n], sample by sample: a product over all samples would round by their number.
template <class T>
void multiply(const Tensor& weight, const T* input, T* output, std::int64_t samples) {
  library::gemm<T>({.batch = samples,
                    .rows = 1,
                    .columns = weight.size(0),
                    .inner = weight.size(1),
                    .transpose_b = true,
                    .stride_a = weight.size(1),
                    .stride_b = 0,
                    .stride_c = weight.size(0)},
                   input, weight.data<T>(), output, false, main_stream());
}

/// Device memory that grows when more is asked for.
template <class T>
class Scratch {
 public:
  T* get(std::int64_t count) {
    if (!memory_.defined() || memory_.count() < count) memory_ = Tensor::empty({count}, DTypeOf<T>::value);
    return memory_.data<T>();
  }
  const Tensor& tensor() const { return memory_; }

 private:
  Tensor memory_;
};

/// What is left of a norm in evaluation: y = x · scale + shift. A folded layer has a bias alone.
struct Affine {
  Tensor scale, shift;
};

template <class T>
Affine affine_of(const BatchNorm* norm, const Variable& bias) {
  if (!norm) return {{}, bias.value()};
  const auto gamma = norm->gamma().value().to_doubles(), beta = norm->beta().value().to_doubles(),
             mean = norm->running_mean().value().to_doubles(), variance = norm->running_var().value().to_doubles();
  std::vector<T> scale(gamma.size()), shift(gamma.size());
  for (std::size_t c = 0; c < gamma.size(); ++c) {
    const double factor = gamma[c] / std::sqrt(variance[c] + ops::BatchNormMode{}.epsilon);
    scale[c] = static_cast<T>(factor);
    shift[c] = static_cast<T>(beta[c] - mean[c] * factor);
  }
  return {Tensor::from_host(scale), Tensor::from_host(shift)};
}

/// Trunk and heads of one layer, the heads' weights one behind the other.
template <class T>
class PreparedAttention {
 public:
  explicit PreparedAttention(const ODConvAttention& attention)
      : trunk_(attention.trunk().weight.value()), layer_norm_(nullptr) {
    if (attention.norm_kind() == AttentionNorm::layer)
      layer_norm_ = attention.norm();
    else
      affine_ = affine_of<T>(attention.norm(), attention.trunk().bias);
    std::vector<T> weights, biases;
    const auto add = [&](const ODConvAttention::Head& head) -> std::int64_t {
      if (!head.weight.defined()) return 0;
      const auto weight = head.weight.value().template to_host<T>(), bias = head.bias.value().template to_host<T>();
      weights.insert(weights.end(), weight.begin(), weight.end());
      biases.insert(biases.end(), bias.begin(), bias.end());
      return static_cast<std::int64_t>(bias.size());
    };
    widths_.channel = add(attention.channel());
    widths_.filter = add(attention.filter());
    widths_.spatial = add(attention.spatial());
    widths_.kernel = add(attention.kernel());
    heads_ = Tensor::from_host(weights, {widths_.all(), trunk_.size(0)});
    biases_ = Tensor::from_host(biases);
  }

  /// The attentions of input [N, P, I], in memory that the next call overwrites.
  AttentionValues<T> run(const T* input, std::int64_t samples, std::int64_t pixels, const Tensor& temperature,
                         std::int64_t kernels, Scratch<T>& scratch) const {
    const std::int64_t channels = trunk_.size(1), width = trunk_.size(0);
    constexpr std::int64_t alignment = 64, parts = 10;
    T* next = scratch.get(samples * (channels + 2 * width + 2 + 2 * widths_.all()) + parts * alignment);
    const auto part = [&](std::int64_t elements) {
      return std::exchange(next, next + (samples * elements + alignment - 1) / alignment * alignment);
    };
    T* const pooled = part(channels);
    T* const hidden = part(width);
    T* const normed = part(width);
    T* const mean = part(1);  // of the layer norm
    T* const rstd = part(1);
    T* const products = part(widths_.all());
    T* const channel = part(widths_.channel);
    T* const filter = part(widths_.filter);
    T* const spatial = part(widths_.spatial);
    T* const kernel = part(widths_.kernel);
    const Stream stream = main_stream();
    kernels::global_average_pool_forward(input, pooled, samples, pixels, channels, stream);
    multiply(trunk_, pooled, hidden, samples);
    if (layer_norm_)
      kernels::layer_norm_forward<T>({samples, width, ops::BatchNormMode{}.epsilon, true}, hidden,
                                     layer_norm_->gamma().value().template data<T>(),
                                     layer_norm_->beta().value().template data<T>(), mean, rstd, normed, stream);
    else
      kernels::apply_affine<T>(hidden, affine_.scale.data_or_null<T>(), affine_.shift.data<T>(), nullptr, true, normed,
                               samples, width, stream);
    multiply(heads_, normed, products, samples);
    kernels::attention_forward<T>(widths_, products, biases_.data<T>(), temperature.data<double>(), channel, filter,
                                  spatial, kernel, samples, stream);
    return {channel, widths_.filter ? filter : nullptr, widths_.spatial ? spatial : nullptr,
            widths_.kernel ? kernel : nullptr, kernels};
  }

 private:
  Tensor trunk_;  // [A, I]
  Affine affine_;
  const BatchNorm* layer_norm_;  // instead of the affine
  kernels::HeadWidths widths_;
  Tensor heads_, biases_;  // [I + O + R·S + K, A] and [I + O + R·S + K]
};

}  // namespace

class InferenceNet::Plan {
 public:
  virtual ~Plan() = default;
  virtual Tensor forward(const Tensor& images) = 0;
};

template <class T>
class InferenceNet::TypedPlan : public Plan {
 public:
  TypedPlan(const Model& model, std::int64_t height, std::int64_t width)
      : temperature_(model.temperature), graph_(model.graph(height, width)) {
    for (const GraphNode& node : graph_.nodes()) steps_.push_back(prepare(node));
    assign_buffers();
  }

  Tensor forward(const Tensor& images) override {
    Shape expected = graph_.shape(0);
    expected.front() = images.rank() > 0 ? images.size(0) : 0;
    expect(images.shape() == expected && images.count() > 0 && images.dtype() == DTypeOf<T>::value, where,
           "expected images of ", name_of(DTypeOf<T>::value), " and shape ", expected, ", got ",
           name_of(images.dtype()), " of shape ", images.shape());
    const std::int64_t samples = images.size(0);
    for (std::size_t i = 0; i < steps_.size(); ++i) run(graph_.nodes()[i], steps_[i], images, samples);
    const GraphNode& last = graph_.nodes().back();
    return buffers_[static_cast<std::size_t>(buffer_of_[static_cast<std::size_t>(last.output)])].tensor().view(
        0, {samples, elements_per_sample(graph_.shape(last.output))});
  }

 private:
  /// A node with what was prepared for it.
  struct Step {
    std::optional<conv::PreparedConv<T>> conv;
    std::optional<PreparedAttention<T>> attention;
    std::int64_t kernels = 1;
    Affine affine;
  };

  Step prepare(const GraphNode& node) const {
    Step step;
    if (node.operation != GraphNode::Operation::convolution) return step;
    const NormedConv& layer = *node.convolution;
    const Shape& input = graph_.shape(node.input);
    const Tensor weight = layer.conv().weight().value();
    step.kernels = weight.rank() == 5 ? weight.size(0) : 1;
    step.conv.emplace(layer.conv().shape(input[1], input[2]), step.kernels, weight);
    step.affine = affine_of<T>(layer.norm(), layer.bias());
    if (const auto* dynamic = dynamic_cast<const ODConv2d*>(&layer.conv()))
      step.attention.emplace(dynamic->attention());
    return step;
  }

  /// Values whose lives do not overlap share a buffer; an operation never writes where it reads.
  void assign_buffers() {
    buffer_of_.assign(static_cast<std::size_t>(graph_.value_count()), GraphNode::none);
    std::vector<int> free;
    int count = 0;
    for (std::size_t i = 0; i < graph_.nodes().size(); ++i) {
      const GraphNode& node = graph_.nodes()[i];
      int& own = buffer_of_[static_cast<std::size_t>(node.output)];
      if (free.empty()) {
        own = count++;
      } else {
        own = free.back();
        free.pop_back();
      }
      for (const int read : {node.input, node.residual})
        if (read > 0 && graph_.last_reader(read) == static_cast<int>(i))
          free.push_back(buffer_of_[static_cast<std::size_t>(read)]);
    }
    buffers_.resize(static_cast<std::size_t>(count));
  }

  T* memory_of(int value, std::int64_t samples) {
    return buffers_[static_cast<std::size_t>(buffer_of_[static_cast<std::size_t>(value)])].get(
        samples * elements_per_sample(graph_.shape(value)));
  }

  void run(const GraphNode& node, const Step& step, const Tensor& images, std::int64_t samples) {
    const Shape& shape = graph_.shape(node.input);
    const T* const input = node.input == 0 ? images.data<T>() : memory_of(node.input, samples);
    T* const output = memory_of(node.output, samples);
    const Stream stream = main_stream();
    switch (node.operation) {
      case GraphNode::Operation::convolution: {
        AttentionValues<T> attention;
        if (step.attention)
          attention = step.attention->run(input, samples, shape[1] * shape[2], temperature_, step.kernels, scratch_);
        const conv::Epilogue<T> epilogue{
            .scale = step.affine.scale.template data_or_null<T>(),
            .shift = step.affine.shift.template data<T>(),
            .residual = node.residual == GraphNode::none ? nullptr : memory_of(node.residual, samples),
            .relu = node.relu};
        return step.conv->run(samples, attention, input, epilogue, output, stream);
      }
      case GraphNode::Operation::max_pool:
        return kernels::max_pool_forward<T>({samples, shape[1], shape[2], shape[3], node.max_pool}, input, output,
                                            nullptr, stream);
      case GraphNode::Operation::average_pool:
        return kernels::global_average_pool_forward(input, output, samples, shape[1] * shape[2], shape[3], stream);
      case GraphNode::Operation::linear: {
        const Tensor &weight = node.linear->weight().value(), &bias = node.linear->bias().value();
        multiply(weight, input, output, samples);
        return kernels::add_bias(output, bias.data<T>(), samples, weight.size(0), stream);
      }
    }
  }

  Tensor temperature_;
  Graph graph_;
  std::vector<Step> steps_;
  std::vector<int> buffer_of_;  // of each value; none for the network's input
  std::vector<Scratch<T>> buffers_;
  Scratch<T> scratch_;  // of the attention in progress
};

InferenceNet::InferenceNet(const Model& model, std::int64_t height, std::int64_t width)
    : plan_(dispatch(where, model.store.dtype(), [&](auto zero) -> std::unique_ptr<Plan> {
        return std::make_unique<TypedPlan<decltype(zero)>>(model, height, width);
      })) {}

InferenceNet::~InferenceNet() = default;

Tensor InferenceNet::forward(const Tensor& images) {
  return plan_->forward(images);
}

}  // namespace omniconv
