#include <type_traits>

#include "engine/conv/blocked_cpu.h"
#include "engine/conv/in_float.h"
#include "engine/conv/plan.h"
#include "engine/conv/static_conv_library.h"
#include "engine/conv/summed_cpu.h"
#include "engine/conv/winograd_cpu.h"
#include "engine/conv/winograd_weight_cpu.h"

namespace omniconv::conv {

namespace {

Algorithm planned(const ConvShape& shape, Direction direction) {
  return default_plan({.shape = shape, .kernels = 0, .dtype = DType::f32, .direction = direction}).algorithm;
}

}  // namespace

template <class T>
bool library_forward(const ConvShape& shape, const T* input, const T* weight, T* output, Stream stream) {
  const bool winograd = planned(shape, Direction::forward) == Algorithm::winograd;
  const auto run = [&](const float* x, const float* w, float* y) {
    if (winograd)
      winograd_forward(shape, {}, x, w, {}, y);
    else
      blocked_forward(shape, {}, x, w, y);
  };
  if constexpr (std::is_same_v<T, float>)
    run(input, weight, output);
  else
    forward_in_float(shape, 1, input, weight, output, stream, run);
  return true;
}

template <class T>
bool library_data_gradient(const ConvShape& shape, const T* weight, const T* d_output, T* d_input, bool accumulate,
                           Stream stream) {
  const Algorithm algorithm = planned(shape, Direction::data_gradient);
  const auto run = [&](const float* w, const float* dy, float* dx, bool add) {
    if (algorithm == Algorithm::winograd)
      winograd_data_gradient(shape, {}, nullptr, w, dy, dx, add, nullptr);
    else if (algorithm == Algorithm::summed)  // on few pixels its products beat the convolution by a quarter
      panel_data_gradient(shape, {}, nullptr, w, dy, dx, add, nullptr);
    else
      blocked_data_gradient(shape, {}, nullptr, w, dy, dx, add, nullptr);
  };
  if constexpr (std::is_same_v<T, float>)
    run(weight, d_output, d_input, accumulate);
  else
    data_gradient_in_float<T>(shape, 1, nullptr, weight, d_output, d_input, accumulate, stream,
                              [&](const float*, const float* w, const float* dy, float* dx) { run(w, dy, dx, false); });
  return true;
}

template <class T>
bool library_weight_gradient(const ConvShape& shape, const T* input, const T* weight, const T* d_output,
                             float* d_weight, bool accumulate, Stream stream) {
  const bool winograd = planned(shape, Direction::weight_gradient) == Algorithm::winograd;
  const auto run = [&](const float* x, const float* w, const float* dy) {
    (winograd ? winograd_weight_gradient : blocked_weight_gradient)(shape, {}, x, w, dy, d_weight, accumulate, nullptr);
  };
  if constexpr (std::is_same_v<T, float>)
    run(input, weight, d_output);
  else
    weight_gradient_in_float(shape, 1, input, weight, d_output, stream, run);
  return true;
}

#define OMNICONV_INSTANTIATE(T)                                                                \
  template bool library_forward(const ConvShape&, const T*, const T*, T*, Stream);             \
  template bool library_data_gradient(const ConvShape&, const T*, const T*, T*, bool, Stream); \
  template bool library_weight_gradient(const ConvShape&, const T*, const T*, const T*, float*, bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::conv
