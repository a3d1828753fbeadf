#include "layers/layers.h"

#include "layers/graph.h"

namespace omniconv {

void check_convolution(std::string_view where, std::int64_t in_channels, std::int64_t out_channels,
                       std::int64_t kernel_size, const Conv2dParams& params) {
  expect(in_channels >= 1 && out_channels >= 1 && kernel_size >= 1, where,
         "expected at least 1 channel and a kernel of at least 1, got ", in_channels, " to ", out_channels,
         " channels with a kernel of ", kernel_size);
  expect(params.stride >= 1 && params.dilation >= 1 && params.padding >= 0, where,
         "expected stride and dilation of at least 1 and no negative padding, got stride ", params.stride,
         ", dilation ", params.dilation, ", padding ", params.padding);
  expect(params.groups >= 1 && in_channels % params.groups == 0 && out_channels % params.groups == 0, where,
         "expected groups that divide ", in_channels, " and ", out_channels, " channels, got ", params.groups);
}

Cost& Cost::operator+=(const Cost& other) {
  convolution += other.convolution;
  attention += other.attention;
  aggregation += other.aggregation;
  scaling += other.scaling;
  return *this;
}

std::int64_t convolution_cost(const ConvShape& shape) {
  return shape.weight_count() * shape.out_pixels();
}

ConvShape at_image(ConvShape shape, std::int64_t height, std::int64_t width) {
  shape.height = height;
  shape.width = width;
  return shape;
}

Conv2d::Conv2d(ParameterStore& store, const std::string& prefix, std::int64_t in_channels, std::int64_t out_channels,
               std::int64_t kernel_size, const Conv2dParams& params)
    : prefix_(prefix), shape_{1, 0, 0, in_channels, out_channels, kernel_size, kernel_size, params} {
  check_convolution("conv2d", in_channels, out_channels, kernel_size, params);
  const std::int64_t group_in = in_channels / params.groups;
  weight_ = store.add_parameter({prefix + "weight",
                                 {out_channels, kernel_size, kernel_size, group_in},
                                 {out_channels, group_in, kernel_size, kernel_size},
                                 true},
                                Initializer::kaiming(out_channels * kernel_size * kernel_size));
}

Variable Conv2d::forward(const Pass& pass, const Variable& input, bool /*normed*/) const {
  pass.tape.enter(prefix_);
  return ops::conv2d(pass.tape, shape_.params, input, weight_);
}

ConvShape Conv2d::shape(std::int64_t height, std::int64_t width) const {
  return at_image(shape_, height, width);
}

Cost Conv2d::cost(std::int64_t height, std::int64_t width) const {
  Cost cost;
  cost.convolution = convolution_cost(shape(height, width));
  return cost;
}

BatchNorm::BatchNorm(ParameterStore& store, const std::string& prefix, std::int64_t channels)
    : prefix_(prefix),
      gamma_(store.add_parameter({prefix + "weight", {channels}, {}, false}, Initializer::value(1))),
      beta_(store.add_parameter({prefix + "bias", {channels}, {}, false}, Initializer::value(0))),
      running_mean_(store.add_buffer({prefix + "running_mean", {channels}, {}, false}, 0)),
      running_var_(store.add_buffer({prefix + "running_var", {channels}, {}, false}, 1)),
      batches_tracked_(store.add_counter(prefix + "num_batches_tracked")) {}

Variable BatchNorm::forward(const Pass& pass, const Variable& input, bool relu, const Variable& residual, bool frozen,
                            bool pool) const {
  ops::BatchNormMode mode = this->mode(pass, frozen);
  mode.relu = relu;
  mode.pool = pool;
  pass.tape.enter(prefix_);
  return ops::batch_norm(pass.tape, mode, input, residual, gamma_, beta_, running_mean_.value(), running_var_.value());
}

ops::BatchNormMode BatchNorm::mode(const Pass& pass, bool frozen) const {
  ops::BatchNormMode mode;
  mode.batch_statistics = pass.training && !frozen;
  mode.batches_tracked = batches_tracked_.value();
  return mode;
}

void BatchNorm::estimate_statistics(const Variable& input) const {
  Tape tape(false);
  ops::BatchNormMode mode;
  mode.momentum = 1;
  ops::batch_norm(tape, mode, input, {}, gamma_, beta_, running_mean_.value(), running_var_.value());
}

Variable BatchNorm::forward_by_sample(const Pass& pass, const Variable& input, bool relu) const {
  pass.tape.enter(prefix_);
  return ops::layer_norm(pass.tape, ops::BatchNormMode{}.epsilon, relu, input, gamma_, beta_);
}

NormedConv::NormedConv(ParameterStore& store, const std::string& prefix, const std::string& norm_prefix,
                       std::unique_ptr<ConvLayer> conv, std::int64_t out_channels, bool folded, bool pooled)
    : prefix_(prefix), norm_prefix_(norm_prefix), conv_(std::move(conv)), pooled_(pooled) {
  if (folded)
    bias_ = store.add_parameter({prefix + "bias", {out_channels}, {}, false}, Initializer::value(0));
  else
    norm_ = std::make_unique<BatchNorm>(store, norm_prefix, out_channels);
}

Variable NormedConv::forward(const Pass& pass, const Variable& input, bool relu, const Variable& residual) const {
  const Variable convolved = conv_->forward(pass, input, norm_ != nullptr && pass.training);
  pass.tape.enter(prefix_);
  const Variable output = norm_ ? norm_->forward(pass, convolved, relu, residual, false, pooled_)
                                : ops::add_bias(pass.tape, convolved, bias_, relu, residual);
  if (pass.graph) pass.graph->add_convolution(*this, input, relu, residual, output);
  return output;
}

Variable max_pool(const Pass& pass, const Variable& input) {
  const kernels::MaxPoolParams params;
  const Variable output = ops::max_pool(pass.tape, params, input);
  if (pass.graph) pass.graph->add_max_pool(params, input, output);
  return output;
}

Variable global_average_pool(const Pass& pass, const Variable& input) {
  pass.tape.enter("avgpool.");
  const Variable output = ops::global_average_pool(pass.tape, input);
  if (pass.graph) pass.graph->add_average_pool(input, output);
  return output;
}

Linear::Linear(ParameterStore& store, const std::string& prefix, std::int64_t in_features, std::int64_t out_features,
               double standard_deviation)
    : prefix_(prefix),
      weight_count_(out_features * in_features),
      weight_(store.add_parameter({prefix + "weight", {out_features, in_features}, {}, false},
                                  Initializer::normal(standard_deviation))),
      bias_(store.add_parameter({prefix + "bias", {out_features}, {}, false}, Initializer::value(0))) {}

Variable Linear::forward(const Pass& pass, const Variable& input) const {
  pass.tape.enter(prefix_);
  const Variable output = ops::linear(pass.tape, input, weight_, bias_);
  if (pass.graph) pass.graph->add_linear(*this, input, output);
  return output;
}

Cost Linear::cost() const {
  Cost cost;
  cost.convolution = weight_count_;
  return cost;
}

Dropout::Dropout(double probability, std::uint64_t seed) : probability_(probability), seed_(seed) {
  expect(probability >= 0 && probability < 1, "dropout", "expected a probability in [0, 1), got ", probability);
}

Variable Dropout::forward(const Pass& pass, const Variable& input) const {
  if (!pass.training || probability_ == 0) return input;
  return ops::dropout(pass.tape, probability_, seed_, pass.step, input);
}

}  // namespace omniconv
