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
                           const T* weight, const T* d_output, T* d_input, bool accumulate,
                           compute_type_t<T>* weighted_channel, Stream stream) {
  const Problem problem = problem_of<T>(shape, attention.kernels, Direction::data_gradient);
  const Plan plan = conv::plan(problem);
  const Algorithm algorithm = plan.algorithm;
  const RunTimer timer(run_of(problem, plan, weight));
  if constexpr (is_half<T>) {
    if (algorithm == Algorithm::tensor_core)
      return tensor_core_data_gradient(shape, attention, input, weight, d_output, d_input, accumulate, weighted_channel,
                                       stream);
    if (algorithm == Algorithm::tensor_core_summed)
      return summed_tensor_core_data_gradient(shape, attention, input, weight, d_output, d_input, accumulate,
                                              weighted_channel, nullptr, stream);
    // C is taken from the gradient before it is rounded, which our own kernel does not keep.
    if (algorithm != Algorithm::tiled || weighted_channel)
      return data_gradient_in_float(
          shape, attention.kernels, weighted_channel ? input : nullptr, weight, d_output, d_input, accumulate, stream,
          [&](const float* x, const float* w, const float* dy, float* dx) {
            const ForceAlgorithm same(algorithm);
            dynamic_data_gradient(shape, attention, x, w, dy, dx, false, weighted_channel, stream);
          });
  }
#if !OMNICONV_CUDA
  if constexpr (std::is_same_v<T, float>) {
    if (algorithm == Algorithm::blocked)
      return blocked_data_gradient(shape, attention, input, weight, d_output, d_input, accumulate, weighted_channel);
    if (algorithm == Algorithm::streamed)
      return streamed_data_gradient(shape, attention, input, weight, d_output, d_input, accumulate, weighted_channel);
    if (algorithm == Algorithm::winograd)
      return winograd_data_gradient(shape, attention, input, weight, d_output, d_input, accumulate, weighted_channel);
  }
#endif
  // C needs this convolution's own gradient: where others have added to d_input already, it is computed beside it.
  const bool beside = accumulate && weighted_channel;
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
  if (weighted_channel)
    kernels::pixel_dot(input, target, weighted_channel, shape.samples, shape.in_pixels(), shape.in_channels, stream);
  if (beside) kernels::add(target, d_input, shape.input_count(), stream);
}

template <class T>
void dynamic_weight_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention,
                             const T* input, const T* weight, const T* d_output, compute_type_t<T>* d_weight,
                             bool accumulate, compute_type_t<T>* weighted_kernel, compute_type_t<T>* weighted_spatial,
                             Stream stream) {
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
                                                                weighted_kernel, weighted_spatial, stream);
                                      });
  } else if (algorithm == Algorithm::two_sided) {
    return two_sided_weight_gradient(shape, attention, input, weight, d_output, d_weight, accumulate, weighted_kernel,
                                     weighted_spatial, stream);
  }
  Tensor weighted_kst;  // Q [N, K, R·S]
  Value* shares = nullptr;
  if (weighted_kernel) {
    weighted_kst = Tensor::empty({shape.samples, attention.kernels, shape.taps()}, DTypeOf<Value>::value);
    shares = weighted_kst.data<Value>();
  }
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
  if (shares)
    kernels::sum_shares(shares, shape.samples, attention.kernels, shape.taps(), weighted_kernel, weighted_spatial,
                        stream);
}

template <class T>
void dynamic_gradients(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                       const T* weight, const T* d_output, const DynamicGradients<T>& gradients, Stream stream) {
  const DynamicGradients<T>& g = gradients;
  if constexpr (is_half<T>) {
    const Problem data_problem = problem_of<T>(shape, attention.kernels, Direction::data_gradient);
    const Plan data = plan(data_problem);
    const Plan weights = plan(problem_of<T>(shape, attention.kernels, Direction::weight_gradient));
    if (g.d_input && g.weighted_kernel && data.algorithm == Algorithm::tensor_core_summed &&
        weights.algorithm == Algorithm::tensor_core_summed) {
      {
        const RunTimer timer(run_of(data_problem, data, weight));
        const Buffer<float> shares(shape.samples * attention.kernels * shape.taps());
        summed_tensor_core_data_gradient(shape, attention, input, weight, d_output, g.d_input, g.accumulate_input,
                                         g.weighted_channel, shares.get(), stream);
        kernels::sum_shares(shares.get(), shape.samples, attention.kernels, shape.taps(), g.weighted_kernel,
                            g.weighted_spatial, stream);
      }
      if (g.d_weight)
        dynamic_weight_gradient<T>(shape, attention, input, weight, d_output, g.d_weight, g.accumulate_weight, nullptr,
                                   nullptr, stream);
      return;
    }
  }
  if (g.d_weight || g.weighted_kernel)
    dynamic_weight_gradient(shape, attention, input, weight, d_output, g.d_weight, g.accumulate_weight,
                            g.weighted_kernel, g.weighted_spatial, stream);
  if (g.d_input)
    dynamic_data_gradient(shape, attention, input, weight, d_output, g.d_input, g.accumulate_input, g.weighted_channel,
                          stream);
}

#define OMNICONV_INSTANTIATE(T)                                                                                        \
  template void dynamic_forward(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*, const T*, T*,   \
                                Stream, Moments*);                                                                     \
  template void dynamic_data_gradient(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*, const T*, \
                                      const T*, T*, bool, compute_type_t<T>*, Stream);                                 \
  template void dynamic_weight_gradient(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*,         \
                                        const T*, const T*, compute_type_t<T>*, bool, compute_type_t<T>*,              \
                                        compute_type_t<T>*, Stream);                                                   \
  template void dynamic_gradients(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*, const T*,     \
                                  const T*, const DynamicGradients<T>&, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::conv
