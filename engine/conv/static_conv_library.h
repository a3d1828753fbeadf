// What the device's library contributes to the static convolutions: f32, as static_conv.h describes the three
// functions. Each returns false, having written nothing, where the library has no such convolution.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/simt/stream.h"

namespace omniconv::conv {

bool library_forward(const ConvShape& shape, const float* input, const float* weight, float* output, Stream stream);

bool library_data_gradient(const ConvShape& shape, const float* weight, const float* d_output, float* d_input,
                           bool accumulate, Stream stream);

/// `weight` is for libraries that lay the gradient out as they do the weights.
bool library_weight_gradient(const ConvShape& shape, const float* input, const float* weight, const float* d_output,
                             float* d_weight, bool accumulate, Stream stream);

}  // namespace omniconv::conv
