#include "engine/conv/dynamic_conv.h"

#include <type_traits>

#include "engine/conv/in_float.h"
#include "engine/conv/library_parts.h"
#include "engine/conv/materialise.h"
#include "engine/conv/recorder.h"
#include "engine/conv/summed.h"
#include "engine/conv/tensor_core.h"
#include "engine/conv/two_sided.h"
#include "kernels/od_conv.h"
#include "kernels/od_conv_mma.h"
#include "kernels/od_conv_summed_mma.h"
#if !OMNICONV_CUDA
#include "engine/conv/blocked_cpu.h"
#include "engine/conv/streamed_cpu.h"
#include "engine/conv/streamed_weight_cpu.h"
#include "engine/conv/winograd_cpu.h"
#include "engine/conv/winograd_weight_cpu.h"
#endif

namespace omniconv::conv {

namespace {

template <class T>
Problem problem_of(const ConvShape& shape, std::int64_t kernels, Direction direction) {
  return {shape, kernels, DTypeOf<T>::value, direction};
}

/// Where moments of these parts of the output's rows go; nullptr if nobody wants them.
float* place_for(Moments* moments, const kernels::MomentParts& parts, std::int64_t channels) {
  if (!moments) return nullptr;
  *moments = {parts, Tensor::empty({parts.count(), 2, channels}, DType::f32)};
  return moments->values.data<float>();
}

/// Where sums of this shape go; nullptr if nobody wants them.
template <class Value>
Value* place_for(Tensor* sums, const Shape& shape) {
  if (!sums) return nullptr;
  *sums = Tensor::empty(shape, DTypeOf<Value>::value);
  return sums->data<Value>();
}

/// The same for Q [N, K, R·S], of which both are sums.
template <class Value>
Value* place_for(WeightedShares* sums, const ConvShape& shape, std::int64_t kernels) {
  if (!sums) return nullptr;
  Value* const shares = place_for<Value>(&sums->kernel, {shape.samples, kernels, shape.taps()});
  sums->spatial = sums->kernel;
  return shares;
}

Run run_of(const Problem& problem, const Plan& plan, const void* weight) {
  return {.problem = problem, .algorithm = name_of(plan.algorithm), .reason = plan.reason, .weight = weight};
}

}  // namespace

template <class T>
void dynamic_forward(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                     const T* weight, T* output, Stream stream, [[maybe_unused]] Moments* moments) {
  const Problem problem = problem_of<T>(shape, attention.kernels, Direction::forward);
  const Plan plan = conv::plan(problem);
  const RunTimer timer(run_of(problem, plan, weight));
  if (plan.algorithm == Algorithm::tiled)
    return kernels::od_conv_forward(shape, attention, input, weight, output, stream);
  if constexpr (is_half<T>) {
    if (plan.algorithm == Algorithm::tensor_core)
      return kernels::od_conv_mma_forward(
          shape, attention, input, weight, output,
          place_for(moments, kernels::od_conv_mma_moments(shape, attention.kernels), shape.out_channels), stream);
    if (plan.algorithm == Algorithm::tensor_core_summed)
      return summed_tensor_core_forward(
          shape, attention, input, weight, output,
          place_for(moments, kernels::od_conv_summed_mma_moments(shape), shape.out_channels), stream);
    forward_in_float(shape, attention.kernels, input, weight, output, stream,
                     [&](const float* x, const float* w, float* y) {
                       const ForceAlgorithm same(plan.algorithm);
                       dynamic_forward(shape, attention, x, w, y, stream);
                     });
  } else {
    if (plan.algorithm == Algorithm::materialise)
      return materialise_forward(shape, attention, input, weight, output, stream);
    if (plan.algorithm == Algorithm::summed) return summed_forward(shape, attention, input, weight, output, stream);
    if (plan.algorithm == Algorithm::two_sided)
      return two_sided_forward(shape, attention, input, weight, output, stream);
#if !OMNICONV_CUDA
    if constexpr (std::is_same_v<T, float>) {
      if (plan.algorithm == Algorithm::streamed) return streamed_forward(shape, attention, input, weight, output);
      if (plan.algorithm == Algorithm::winograd) return winograd_forward(shape, attention, input, weight, {}, output);
      return blocked_forward(shape, attention, input, weight, output);
    }
#endif
    fail("od_conv2d", "expected an algorithm of this build");
  }
}

template <class T>
void dynamic_data_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                           const T* weight, const T* d_output, T* d_input, bool accumulate, Tensor* weighted_channel,
                           Stream stream) {
  using Value = compute_type_t<T>;
  const Problem problem = problem_of<T>(shape, attention.kernels, Direction::data_gradient);
  const Plan plan = conv::plan(problem);
  const Algorithm algorithm = plan.algorithm;
  const RunTimer timer(run_of(problem, plan, weight));
  const auto channel_in_parts = [&](std::int64_t parts) {
    return place_for<Value>(weighted_channel, {shape.samples, parts, shape.in_channels});
  };
  if constexpr (is_half<T>) {
    if (algorithm == Algorithm::tensor_core)
      return kernels::od_conv_mma_data_gradient(
          shape, attention, input, weight, d_output, d_input, accumulate,
          channel_in_parts(kernels::od_conv_mma_dot_parts(shape, attention.kernels)), stream);
    if (algorithm == Algorithm::tensor_core_summed)
      return summed_tensor_core_data_gradient(shape, attention, input, weight, d_output, d_input, accumulate,
                                              channel_in_parts(shape.in_pixels()), nullptr, stream);
    // C is taken from the gradient before it is rounded, which our own kernel does not keep.
    if (algorithm != Algorithm::tiled || weighted_channel)
      return data_gradient_in_float(
          shape, attention.kernels, weighted_channel ? input : nullptr, weight, d_output, d_input, accumulate, stream,
          [&](const float* x, const float* w, const float* dy, float* dx) {
            const ForceAlgorithm same(algorithm);
            dynamic_data_gradient(shape, attention, x, w, dy, dx, false, weighted_channel, stream);
          });
  }
  Value* const channel = channel_in_parts(1);
#if !OMNICONV_CUDA
  if constexpr (std::is_same_v<T, float>) {
    if (algorithm == Algorithm::blocked)
      return blocked_data_gradient(shape, attention, input, weight, d_output, d_input, accumulate, channel);
    if (algorithm == Algorithm::streamed)
      return streamed_data_gradient(shape, attention, input, weight, d_output, d_input, accumulate, channel);
    if (algorithm == Algorithm::winograd)
      return winograd_data_gradient(shape, attention, input, weight, d_output, d_input, accumulate, channel);
  }
#endif
  // C needs this convolution's own gradient: where others have added to d_input already, it is computed beside it.
  const bool beside = accumulate && channel;
  Tensor own;
  T* target = d_input;
  if (beside) {
    own = Tensor::empty({shape.input_count()}, DTypeOf<T>::value);
    target = own.data<T>();
  }
  const bool add = accumulate && !beside;
  if constexpr (!is_half<T>) {
    if (algorithm == Algorithm::materialise)
      materialise_data_gradient(shape, attention, weight, d_output, target, add, stream);
    else if (algorithm == Algorithm::summed)
      summed_data_gradient<T>(shape, attention, nullptr, weight, d_output, target, add, nullptr, stream);
    else if (algorithm == Algorithm::two_sided)
      two_sided_data_gradient(shape, attention, weight, d_output, target, add, stream);
  }
  if (algorithm == Algorithm::tiled)
    kernels::od_conv_data_gradient(shape, attention, d_output, weight, target, add, stream);
  if (channel) kernels::pixel_dot(input, target, channel, shape.samples, shape.in_pixels(), shape.in_channels, stream);
  if (beside) kernels::add(target, d_input, shape.input_count(), stream);
}

template <class T>
void dynamic_weight_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention,
                             const T* input, const T* weight, const T* d_output, compute_type_t<T>* d_weight,
                             bool accumulate, WeightedShares* weighted_shares, Stream stream) {
  using Value = compute_type_t<T>;
  const Problem problem = problem_of<T>(shape, attention.kernels, Direction::weight_gradient);
  const Plan plan = conv::plan(problem);
  const Algorithm algorithm = plan.algorithm;
  const RunTimer timer(run_of(problem, plan, weight));
  if constexpr (is_half<T>) {
    if (algorithm != Algorithm::tiled && algorithm != Algorithm::tensor_core &&
        algorithm != Algorithm::tensor_core_summed)
      return weight_gradient_in_float(shape, attention.kernels, input, weight, d_output, stream,
                                      [&](const float* x, const float* w, const float* dy) {
                                        const ForceAlgorithm same(algorithm);
                                        dynamic_weight_gradient(shape, attention, x, w, dy, d_weight, accumulate,
                                                                weighted_shares, stream);
                                      });
  } else if (algorithm == Algorithm::two_sided) {
    Tensor* const kernel = weighted_shares ? &weighted_shares->kernel : nullptr;
    Tensor* const spatial = weighted_shares ? &weighted_shares->spatial : nullptr;
    return two_sided_weight_gradient(shape, attention, input, weight, d_output, d_weight, accumulate,
                                     place_for<Value>(kernel, {shape.samples, attention.kernels, 1}),
                                     place_for<Value>(spatial, {shape.samples, 1, shape.taps()}), stream);
  }
  Value* const shares = place_for<Value>(weighted_shares, shape, attention.kernels);
  if (algorithm == Algorithm::tiled) {
    const Buffer<Value> workspace(kernels::od_conv_weight_gradient_workspace<Value>(shape, attention.kernels));
    kernels::od_conv_weight_gradient(shape, attention, input, d_output, weight, d_weight, accumulate, shares,
                                     workspace.get(), stream);
  }
  if constexpr (is_half<T>) {
    if (algorithm == Algorithm::tensor_core) {
      tensor_core_weight_gradient(shape, attention, input, weight, d_output, d_weight, accumulate, shares, stream);
    } else if (algorithm == Algorithm::tensor_core_summed) {
      if (d_weight) summed_tensor_core_weight_gradient(shape, attention, input, d_output, d_weight, accumulate, stream);
      if (shares)
        summed_tensor_core_data_gradient<T>(shape, attention, input, weight, d_output, nullptr, false, nullptr, shares,
                                            stream);
    }
  } else {
    if (algorithm == Algorithm::materialise)
      materialise_weight_gradient(shape, attention, input, weight, d_output, d_weight, accumulate, shares, stream);
    else if (algorithm == Algorithm::summed)
      summed_weight_gradient(shape, attention, input, weight, d_output, d_weight, accumulate, shares, stream);
  }
#if !OMNICONV_CUDA
  if constexpr (std::is_same_v<T, float>) {
    if (algorithm == Algorithm::blocked)
      blocked_weight_gradient(shape, attention, input, weight, d_output, d_weight, accumulate, shares);
    if (algorithm == Algorithm::streamed)
      streamed_weight_gradient(shape, attention, input, weight, d_output, d_weight, accumulate, shares);
    if (algorithm == Algorithm::winograd)
      winograd_weight_gradient(shape, attention, input, weight, d_output, d_weight, accumulate, shares);
  }
#endif
}

template <class T>
void dynamic_gradients(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                       const T* weight, const T* d_output, const DynamicGradients<T>& gradients, Stream stream) {
  const DynamicGradients<T>& g = gradients;
  if constexpr (is_half<T>) {
    const Problem data_problem = problem_of<T>(shape, attention.kernels, Direction::data_gradient);
    const Plan data = plan(data_problem);
    const Plan weights = plan(problem_of<T>(shape, attention.kernels, Direction::weight_gradient));
    if (g.d_input && g.weighted_shares && data.algorithm == Algorithm::tensor_core_summed &&
        weights.algorithm == Algorithm::tensor_core_summed) {
      {
        const RunTimer timer(run_of(data_problem, data, weight));
        summed_tensor_core_data_gradient(
            shape, attention, input, weight, d_output, g.d_input, g.accumulate_input,
            place_for<float>(g.weighted_channel, {shape.samples, shape.in_pixels(), shape.in_channels}),
            place_for<float>(g.weighted_shares, shape, attention.kernels), stream);
      }
      if (g.d_weight)
        dynamic_weight_gradient<T>(shape, attention, input, weight, d_output, g.d_weight, g.accumulate_weight, nullptr,
                                   stream);
      return;
    }
  }
  if (g.d_weight || g.weighted_shares)
    dynamic_weight_gradient(shape, attention, input, weight, d_output, g.d_weight, g.accumulate_weight,
                            g.weighted_shares, stream);
  if (g.d_input)
    dynamic_data_gradient(shape, attention, input, weight, d_output, g.d_input, g.accumulate_input, g.weighted_channel,
                          stream);
}

#define OMNICONV_INSTANTIATE(T)                                                                                        \
  template void dynamic_forward(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*, const T*, T*,   \
                                Stream, Moments*);                                                                     \
  template void dynamic_data_gradient(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*, const T*, \
                                      const T*, T*, bool, Tensor*, Stream);                                            \
  template void dynamic_weight_gradient(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*,         \
                                        const T*, const T*, compute_type_t<T>*, bool, WeightedShares*, Stream);        \
  template void dynamic_gradients(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*, const T*,     \
                                  const T*, const DynamicGradients<T>&, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::conv
