#include <array>

#include "engine/device.h"
#include "engine/ops/functions.h"
#include "kernels/od_attention.h"

namespace omniconv::ops {

namespace {

constexpr const char* name = "od_attention";
using kernels::head_count;

using Heads = std::array<AttentionHead, head_count>;

void check_head(const AttentionHead& head, std::int64_t features) {
  if (!head.weight.defined()) return;
  const Shape& weight = head.weight.shape();
  expect(weight.size() == 2 && weight[1] == features, name, "expected the weight of a head of ", features,
         " features, got shape ", weight);
  expect(head.bias.shape() == Shape{weight[0]}, name, "expected a bias of shape ", Shape{weight[0]}, ", got ",
         head.bias.shape());
}

kernels::OdAttentionShape checked_shape(const BatchNormMode& mode, const Variable& pooled, const Variable& trunk,
                                        const Variable& gamma, const Variable& beta, const Tensor& running_mean,
                                        const Tensor& running_var, const Heads& heads, const Tensor& temperature) {
  expect(pooled.value().rank() == 2, name, "expected input [N, I], got shape ", pooled.shape());
  const std::int64_t channels = pooled.shape()[1];
  expect(trunk.value().rank() == 2 && trunk.shape()[1] == channels, name, "expected a trunk [A, ", channels,
         "], got shape ", trunk.shape());
  const std::int64_t features = trunk.shape()[0];
  for (const Shape& shape : {gamma.shape(), beta.shape(), running_mean.shape(), running_var.shape()})
    expect(shape == Shape{features}, name, "expected parameters and statistics of shape ", Shape{features}, ", got ",
           shape);
  for (const AttentionHead& head : heads) check_head(head, features);
  expect(heads[kernels::channel_head].weight.defined(), name, "expected a channel head, got none");
  expect(temperature.count() == 1 && temperature.dtype() == DType::f64, name, "expected a temperature f64 [1], got ",
         name_of(temperature.dtype()), " of shape ", temperature.shape());
  kernels::OdAttentionShape shape{.samples = pooled.shape()[0],
                                  .channels = channels,
                                  .features = features,
                                  .epsilon = mode.epsilon,
                                  .batch_statistics = mode.batch_statistics};
  for (int h = 0; h < head_count; ++h) shape.widths[h] = heads[h].weight.defined() ? heads[h].weight.shape()[0] : 0;
  return shape;
}

template <class T>
kernels::GradientTarget<T> target(const Variable& variable) {
  const Gradient gradient = variable.gradient();
  return {gradient.tensor.data_or_null<T>(), gradient.accumulate()};
}

}  // namespace

AttentionLogits od_attention(Tape& tape, const BatchNormMode& mode, const Variable& pooled, const Variable& trunk,
                             const Variable& gamma, const Variable& beta, const Tensor& running_mean,
                             const Tensor& running_var, const AttentionHead& channel, const AttentionHead& filter,
                             const AttentionHead& spatial, const AttentionHead& kernel, const Tensor& temperature) {
  const Heads heads{channel, filter, spatial, kernel};
  const kernels::OdAttentionShape shape =
      checked_shape(mode, pooled, trunk, gamma, beta, running_mean, running_var, heads, temperature);
  const DType dtype = pooled.value().dtype();
  return dispatch(name, dtype, [&](auto zero) -> AttentionLogits {
    using T = decltype(zero);
    const Shape by_sample{shape.samples, shape.features}, by_feature{shape.features};
    const Tensor values = Tensor::empty(by_sample, dtype), hidden = Tensor::empty(by_sample, dtype);
    const Tensor mean = Tensor::empty(by_feature, dtype), rstd = Tensor::empty(by_feature, dtype);
    std::vector<Tensor> logits(head_count), attentions(head_count);
    kernels::OdAttentionForward<T> forward{.pool = pooled.value().data<T>(),
                                           .trunk_weight = trunk.value().data<T>(),
                                           .gamma = gamma.value().data<T>(),
                                           .beta = beta.value().data<T>(),
                                           .running_mean = running_mean.data<T>(),
                                           .running_var = running_var.data<T>(),
                                           .batches = mode.batches_tracked.data_or_null<std::int64_t>(),
                                           .momentum = mode.momentum,
                                           .heads = {},
                                           .temperature = temperature.data<double>(),
                                           .trunk = values.data<T>(),
                                           .hidden = hidden.data<T>(),
                                           .mean = mean.data<T>(),
                                           .rstd = rstd.data<T>()};
    for (int h = 0; h < head_count; ++h) {
      if (shape.widths[h] == 0) continue;
      logits[h] = Tensor::empty({shape.samples, shape.widths[h]}, dtype);
      attentions[h] = Tensor::empty({shape.samples, shape.widths[h]}, dtype);
      forward.heads[h] = {heads[h].weight.value().data<T>(), heads[h].bias.value().data<T>(), logits[h].data<T>(),
                          attentions[h].data<T>()};
    }
    kernels::od_attention_forward(shape, forward, main_stream());

    std::vector<Variable> outputs;
    if (tape.needs_backward({&pooled, &trunk, &gamma, &beta, &channel.weight, &channel.bias, &filter.weight,
                             &filter.bias, &spatial.weight, &spatial.bias, &kernel.weight, &kernel.bias})) {
      outputs = tape.record(name, logits, [=](const std::vector<Tensor>& d_logits) {
        const Tensor d_hidden = Tensor::empty(by_sample, dtype);
        kernels::OdAttentionBackward<T> backward{.pool = pooled.value().data<T>(),
                                                 .trunk_weight = trunk.value().data<T>(),
                                                 .gamma = gamma.value().data<T>(),
                                                 .trunk = values.data<T>(),
                                                 .hidden = hidden.data<T>(),
                                                 .mean = mean.data<T>(),
                                                 .rstd = rstd.data<T>(),
                                                 .heads = {},
                                                 .d_pool = target<T>(pooled),
                                                 .d_trunk_weight = target<T>(trunk),
                                                 .d_gamma = target<T>(gamma),
                                                 .d_beta = target<T>(beta),
                                                 .d_hidden = d_hidden.data<T>()};
        for (int h = 0; h < head_count; ++h) {
          if (!d_logits[h].defined()) continue;
          backward.heads[h] = {heads[h].weight.value().data<T>(), d_logits[h].data<T>(), target<T>(heads[h].weight),
                               target<T>(heads[h].bias)};
        }
        kernels::od_attention_backward(shape, backward, main_stream());
      });
    } else {
      for (const Tensor& output : logits) outputs.push_back(output.defined() ? Variable(output) : Variable());
    }
    return {
        outputs[0], outputs[1], outputs[2], outputs[3], {attentions[0], attentions[1], attentions[2], attentions[3]}};
  });
}

}  // namespace omniconv::ops
