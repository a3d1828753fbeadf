// What the device's library contributes to the static convolutions: f32, bf16 and f16, as static_conv.h describes the
// three functions. Each returns false, having written nothing, where the library has no such convolution.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/simt/stream.h"

namespace omniconv::conv {

template <class T>
bool library_forward(const ConvShape& shape, const T* input, const T* weight, T* output, Stream stream);

template <class T>
bool library_data_gradient(const ConvShape& shape, const T* weight, const T* d_output, T* d_input, bool accumulate,
                           Stream stream);

/// `weight` is for libraries that lay the gradient out as they do the weights.
template <class T>
bool library_weight_gradient(const ConvShape& shape, const T* input, const T* weight, const T* d_output,
                             float* d_weight, bool accumulate, Stream stream);

}  // namespace omniconv::conv
