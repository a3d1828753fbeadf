// Static convolutions, by the device's library: oneDNN on the CPU, cuDNN on CUDA; f64 by our own tiled kernel. bf16 and
// f16 are accumulated in f32, which their weight's gradient is of.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/half.h"
#include "kernels/simt/stream.h"

namespace omniconv::conv {

/// output [N, OH, OW, O] = conv(input [N, H, W, I], weight [O, R, S, I/g]).
template <class T>
void conv2d_forward(const ConvShape& shape, const T* input, const T* weight, T* output, Stream stream);

/// d_input (+)= conv_transpose(d_output, weight).
template <class T>
void conv2d_data_gradient(const ConvShape& shape, const T* weight, const T* d_output, T* d_input, bool accumulate,
                          Stream stream);

/// d_weight (+)= the gradient of conv2d_forward with respect to weight.
template <class T>
void conv2d_weight_gradient(const ConvShape& shape, const T* input, const T* weight, const T* d_output,
                            compute_type_t<T>* d_weight, bool accumulate, Stream stream);

}  // namespace omniconv::conv
