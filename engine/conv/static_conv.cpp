#include "engine/conv/static_conv.h"

#include <type_traits>

#include "engine/conv/static_conv_library.h"
#include "kernels/od_conv.h"

namespace omniconv::conv {

// Our own kernel without attention serves f64 and what the library does not have.

template <class T>
void conv2d_forward(const ConvShape& shape, const T* input, const T* weight, T* output, Stream stream) {
  if constexpr (std::is_same_v<T, float>) {
    if (library_forward(shape, input, weight, output, stream)) return;
  }
  kernels::od_conv_forward<T>(shape, {}, input, weight, output, stream);
}

template <class T>
void conv2d_data_gradient(const ConvShape& shape, const T* weight, const T* d_output, T* d_input, bool accumulate,
                          Stream stream) {
  if constexpr (std::is_same_v<T, float>) {
    if (library_data_gradient(shape, weight, d_output, d_input, accumulate, stream)) return;
  }
  kernels::od_conv_data_gradient<T>(shape, {}, d_output, weight, d_input, accumulate, stream);
}

template <class T>
void conv2d_weight_gradient(const ConvShape& shape, const T* input, const T* weight, const T* d_output, T* d_weight,
                            bool accumulate, Stream stream) {
  if constexpr (std::is_same_v<T, float>) {
    if (library_weight_gradient(shape, input, weight, d_output, d_weight, accumulate, stream)) return;
  }
  kernels::od_conv_weight_gradient<T>(shape, {}, input, d_output, weight, d_weight, accumulate, nullptr, nullptr,
                                      stream);
}

#define OMNICONV_INSTANTIATE(T)                                                               \
  template void conv2d_forward(const ConvShape&, const T*, const T*, T*, Stream);             \
  template void conv2d_data_gradient(const ConvShape&, const T*, const T*, T*, bool, Stream); \
  template void conv2d_weight_gradient(const ConvShape&, const T*, const T*, const T*, T*, bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::conv
