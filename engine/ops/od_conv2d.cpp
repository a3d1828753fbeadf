#include "engine/conv/dynamic_conv.h"
#include "engine/device.h"
#include "engine/fusions.h"
#include "engine/ops/functions.h"
#include "kernels/attention.h"
#include "kernels/pooling.h"

namespace omniconv::ops {

namespace {

constexpr const char* name = "od_conv2d";

/// What backward needs of the forward pass.
struct OdConvContext {
  ConvShape shape;
  std::int64_t kernels = 1;
  Tensor weights;      // [K, O, R, S, I/g] in the input's type
  Tensor temperature;  // f64 [1]
  Attentions values;
  Tensor output;  // [N, OH, OW, O], only with filter attention

  template <class Value>
  AttentionValues<Value> attention() const {
    return {values.channel.data_or_null<Value>(), values.filter.data_or_null<Value>(),
            values.spatial.data_or_null<Value>(), values.kernel.data_or_null<Value>(), kernels};
  }
};

void check_logits(const Variable& logits, std::string_view attention, std::int64_t samples, std::int64_t width,
                  DType dtype) {
  if (!logits.defined()) return;
  expect(logits.shape() == Shape{samples, width}, name, "expected ", attention, " logits of shape ",
         Shape{samples, width}, ", got ", logits.shape());
  expect(logits.value().dtype() == dtype, name, "expected ", attention, " logits of ", name_of(dtype), ", got ",
         name_of(logits.value().dtype()));
}

ConvShape checked_shape(const Conv2dParams& params, const Variable& input, const Variable& weight,
                        const AttentionLogits& logits, const Tensor& temperature) {
  expect(input.value().rank() == 4, name, "expected input [N, H, W, C], got shape ", input.shape());
  expect(weight.value().rank() == 5, name, "expected weight [K, O, R, S, I/g], got shape ", weight.shape());
  const Shape& x = input.shape();
  const Shape& w = weight.shape();
  expect(x[3] == w[4] * params.groups, name, "expected input with ", w[4] * params.groups, " channels, got shape ", x);
  expect(w[1] % params.groups == 0, name, "expected output channels divisible by ", params.groups, " groups, got ",
         w[1]);
  const ConvShape shape{x[0], x[1], x[2], x[3], w[1], w[2], w[3], params};
  expect(shape.out_height() > 0 && shape.out_width() > 0, name,
         "expected an input of at least the kernel's reach, got ", "shape ", x, " for a ", w[2], "x", w[3], " kernel");
  expect(temperature.count() == 1 && temperature.dtype() == DType::f64, name, "expected a temperature f64 [1], got ",
         name_of(temperature.dtype()), " of shape ", temperature.shape());
  const DType dtype = compute_dtype(input.value().dtype());
  check_logits(logits.channel, "channel", x[0], x[3], dtype);
  check_logits(logits.filter, "filter", x[0], w[1], dtype);
  check_logits(logits.spatial, "spatial", x[0], shape.taps(), dtype);
  check_logits(logits.kernel, "kernel", x[0], w[0], dtype);
  // Their gradients are written at once, which is none of the ways to add two of them up.
  const Variable* const heads[] = {&logits.channel, &logits.filter, &logits.spatial, &logits.kernel};
  for (const Variable* a : heads)
    for (const Variable* b : heads)
      expect(a == b || !a->requires_grad() || !a->is(*b), name, "expected logits of their own for each attention, got ",
             "the same for two");
  expect(w[0] == 1 || logits.kernel.defined(), name, "expected kernel logits for ", w[0], " kernels, got none");
  return shape;
}

template <class T>
Tensor sigmoid_attention(const Variable& logits, const Tensor& temperature) {
  if (!logits.defined()) return {};
  Tensor attention = Tensor::empty(logits.shape(), logits.value().dtype());
  kernels::sigmoid_attention_forward(logits.value().data<T>(), temperature.data<double>(), attention.data<T>(),
                                     attention.count(), main_stream());
  return attention;
}

template <class T>
Tensor softmax_attention(const Variable& logits, const Tensor& temperature) {
  if (!logits.defined()) return {};
  Tensor attention = Tensor::empty(logits.shape(), logits.value().dtype());
  kernels::softmax_attention_forward(logits.value().data<T>(), temperature.data<double>(), attention.data<T>(),
                                     logits.value().size(0), logits.value().size(1), main_stream());
  return attention;
}

/// What backward needs for the logits of a head; `activation` and `weighted` as attention_backward() wants them.
template <class T>
kernels::LogitsGradient<T> logits_gradient(const Variable& logits, const Tensor& activation, const Tensor& weighted) {
  const Gradient d_logits = logits.gradient();
  if (!d_logits.wanted()) return {};
  const Shape& shape = logits.shape();
  return {.width = shape[1],
          .activation = activation.data<T>(),
          .weighted = weighted.data<T>(),
          .d_logits = d_logits.tensor.template data<T>(),
          .accumulate = d_logits.accumulate(),
          .parts = weighted.count() / (shape[0] * shape[1])};
}

template <class T>
void backward(const OdConvContext& context, const Variable& input, const Variable& weight,
              const AttentionLogits& logits, const Arriving& arriving) {
  using Value = compute_type_t<T>;
  constexpr DType dtype = DTypeOf<Value>::value;
  const ConvShape& shape = context.shape;
  const AttentionValues<Value> attention = context.attention<Value>();
  const Tensor& d_output = arriving.d_output;
  const Stream stream = main_stream();

  Tensor weighted_filter = arriving.dots;  // R
  if (logits.filter.requires_grad() && !weighted_filter.defined()) {
    weighted_filter = Tensor::empty({shape.samples, 1, shape.out_channels}, dtype);
    kernels::pixel_dot(d_output.data<T>(), context.output.data<T>(), weighted_filter.data<Value>(), shape.samples,
                       shape.out_pixels(), shape.out_channels, stream);
  }

  const Gradient d_input = input.gradient(), d_weight = weight.gradient();
  const bool shares_wanted = logits.spatial.requires_grad() || logits.kernel.requires_grad();
  Tensor weighted_channel;  // C
  conv::WeightedShares weighted_shares;
  // Without a taker for dx the channel attention still needs it.
  const Tensor target = d_input.wanted()                 ? d_input.tensor
                        : logits.channel.requires_grad() ? Tensor::empty(input.shape(), d_output.dtype())
                                                         : Tensor();
  conv::dynamic_gradients<T>(shape, attention, input.value().data<T>(), context.weights.data<T>(), d_output.data<T>(),
                             {.d_input = target.data_or_null<T>(),
                              .accumulate_input = d_input.accumulate(),
                              .weighted_channel = logits.channel.requires_grad() ? &weighted_channel : nullptr,
                              .d_weight = d_weight.tensor.template data_or_null<Value>(),
                              .accumulate_weight = d_weight.accumulate(),
                              .weighted_shares = shares_wanted ? &weighted_shares : nullptr},
                             stream);
  const auto sigmoid_gradient = [](const Variable& head, const Tensor& weighted) {
    return logits_gradient<Value>(head, head.defined() ? head.value() : Tensor(), weighted);
  };
  kernels::attention_backward(sigmoid_gradient(logits.channel, weighted_channel),
                              sigmoid_gradient(logits.filter, weighted_filter),
                              sigmoid_gradient(logits.spatial, weighted_shares.spatial),
                              logits_gradient<Value>(logits.kernel, context.values.kernel, weighted_shares.kernel),
                              context.temperature.data<double>(), shape.samples, stream);
}

}  // namespace

Attentions attentions(const AttentionLogits& logits, const Tensor& temperature) {
  expect(logits.channel.defined(), name, "expected channel logits, which every ODConv has, got none");
  return dispatch(name, logits.channel.value().dtype(), [&](auto zero) -> Attentions {
    using T = decltype(zero);
    return {sigmoid_attention<T>(logits.channel, temperature), sigmoid_attention<T>(logits.filter, temperature),
            sigmoid_attention<T>(logits.spatial, temperature), softmax_attention<T>(logits.kernel, temperature)};
  });
}

Variable od_conv2d(Tape& tape, const Conv2dParams& params, const Variable& input, const Variable& weight,
                   const AttentionLogits& logits, const Tensor& temperature, bool normed) {
  const ConvShape shape = checked_shape(params, input, weight, logits, temperature);
  return dispatch_storage(name, input.value().dtype(), [&](auto zero) {
    using T = decltype(zero);
    using Value = compute_type_t<T>;
    OdConvContext context{
        .shape = shape,
        .kernels = weight.value().size(0),
        .weights = weight.value_in(input.value().dtype(), name),
        .temperature = temperature,
        .values = logits.attentions.channel.defined() ? logits.attentions : attentions(logits, temperature),
        .output = {}};
    Tensor output = Tensor::empty({shape.samples, shape.out_height(), shape.out_width(), shape.out_channels},
                                  input.value().dtype());
    Moments moments;
    conv::dynamic_forward(shape, context.attention<Value>(), input.value().data<T>(), context.weights.data<T>(),
                          output.data<T>(), main_stream(),
                          normed && fusion_enabled(Fusion::statistics) ? &moments : nullptr);
    const auto with_moments = [&](const Variable& result) {
      result.attach_moments(moments);
      return result;
    };
    if (!tape.needs_backward({&input, &weight, &logits.channel, &logits.filter, &logits.spatial, &logits.kernel}))
      return with_moments(Variable(output));
    if (context.values.filter.defined()) context.output = output;
    const Variable result = tape.record(
        name, output, [=](const Arriving& arriving) { backward<T>(context, input, weight, logits, arriving); });
    if (logits.filter.requires_grad() && fusion_enabled(Fusion::filter)) result.want_dots();
    return with_moments(result);
  });
}

}  // namespace omniconv::ops
