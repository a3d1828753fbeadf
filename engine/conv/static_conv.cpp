#include "engine/conv/static_conv.h"

#include <type_traits>

#include "engine/conv/library_parts.h"
#include "engine/conv/recorder.h"
#include "engine/conv/static_conv_library.h"
#include "kernels/od_conv.h"

namespace omniconv::conv {

namespace {

Run run_of(const ConvShape& shape, DType dtype, Direction direction, const void* weight) {
  Run run{.problem = {.shape = shape, .kernels = 0, .dtype = dtype, .direction = direction},
          .algorithm = "library",
          .reason = "no attention",
          .weight = weight};
  // On the CPU the library stands beside algorithms of ours; B without attention is nothing but its convolution.
  const Plan plan = default_plan(run.problem);
  if (!OMNICONV_CUDA && plan.algorithm != Algorithm::blocked) {
    run.algorithm = name_of(plan.algorithm);
    run.reason = plan.reason;
  }
  return run;
}

// Libraries refuse empty tensors, or leave gradients unwritten.
bool has_elements(const ConvShape& shape) {
  return shape.input_count() > 0 && shape.output_count() > 0;
}

constexpr std::string_view no_library = "the library has no such convolution";

}  // namespace

// Our own kernel without attention serves f64 and what the library does not have.

template <class T>
void conv2d_forward(const ConvShape& shape, const T* input, const T* weight, T* output, Stream stream) {
  RunTimer timer(run_of(shape, DTypeOf<T>::value, Direction::forward, weight));
  if constexpr (!std::is_same_v<T, double>) {
    if (has_elements(shape) && library_forward(shape, input, weight, output, stream)) return;
  }
  timer.replace_algorithm(conv::name_of(Algorithm::tiled), no_library);
  kernels::od_conv_forward<T>(shape, {}, input, weight, output, stream);
}

template <class T>
void conv2d_data_gradient(const ConvShape& shape, const T* weight, const T* d_output, T* d_input, bool accumulate,
                          Stream stream) {
  RunTimer timer(run_of(shape, DTypeOf<T>::value, Direction::data_gradient, weight));
  if constexpr (!std::is_same_v<T, double>) {
    if (has_elements(shape) && library_data_gradient(shape, weight, d_output, d_input, accumulate, stream)) return;
  }
  timer.replace_algorithm(conv::name_of(Algorithm::tiled), no_library);
  kernels::od_conv_data_gradient<T>(shape, {}, d_output, weight, d_input, accumulate, stream);
}

template <class T>
void conv2d_weight_gradient(const ConvShape& shape, const T* input, const T* weight, const T* d_output,
                            compute_type_t<T>* d_weight, bool accumulate, Stream stream) {
  RunTimer timer(run_of(shape, DTypeOf<T>::value, Direction::weight_gradient, weight));
  if constexpr (!std::is_same_v<T, double>) {
    if (has_elements(shape) && library_weight_gradient(shape, input, weight, d_output, d_weight, accumulate, stream))
      return;
  }
  timer.replace_algorithm(conv::name_of(Algorithm::tiled), no_library);
  using Value = compute_type_t<T>;
  const Buffer<Value> workspace(kernels::od_conv_weight_gradient_workspace<Value>(shape, 1));
  kernels::od_conv_weight_gradient<T>(shape, {}, input, d_output, weight, d_weight, accumulate, nullptr,
                                      workspace.get(), stream);
}

#define OMNICONV_INSTANTIATE(T)                                                                                  \
  template void conv2d_forward(const ConvShape&, const T*, const T*, T*, Stream);                                \
  template void conv2d_data_gradient(const ConvShape&, const T*, const T*, T*, bool, Stream);                    \
  template void conv2d_weight_gradient(const ConvShape&, const T*, const T*, const T*, compute_type_t<T>*, bool, \
                                       Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::conv
