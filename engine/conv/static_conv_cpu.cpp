#include <type_traits>

#include "engine/conv/blocked_cpu.h"
#include "engine/conv/in_float.h"
#include "engine/conv/plan.h"
#include "engine/conv/static_conv_library.h"
#include "engine/conv/summed_cpu.h"

namespace omniconv::conv {

template <class T>
bool library_forward(const ConvShape& shape, const T* input, const T* weight, T* output, Stream stream) {
  const auto run = [&](const float* x, const float* w, float* y) { blocked_forward(shape, {}, x, w, y); };
  if constexpr (std::is_same_v<T, float>)
    run(input, weight, output);
  else
    forward_in_float(shape, 1, input, weight, output, stream, run);
  return true;
}

template <class T>
bool library_data_gradient(const ConvShape& shape, const T* weight, const T* d_output, T* d_input, bool accumulate,
                           Stream stream) {
  // As planned for one kernel: on few pixels the library's products beat its convolution, by a quarter as measured.
  const bool few_pixels = default_plan({shape, 1, DType::f32, Direction::data_gradient}).algorithm == Algorithm::summed;
  const auto run = [&](const float* w, const float* dy, float* dx, bool add) {
    if (few_pixels)
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
  const auto run = [&](const float* x, const float* w, const float* dy) {
    blocked_weight_gradient(shape, {}, x, w, dy, d_weight, accumulate, nullptr);
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
