#include "engine/conv/blocked_cpu.h"
#include "engine/conv/static_conv_library.h"

namespace omniconv::conv {

bool library_forward(const ConvShape& shape, const float* input, const float* weight, float* output, Stream) {
  blocked_forward(shape, {}, input, weight, output);
  return true;
}

bool library_data_gradient(const ConvShape& shape, const float* weight, const float* d_output, float* d_input,
                           bool accumulate, Stream) {
  blocked_data_gradient(shape, {}, nullptr, weight, d_output, d_input, accumulate, nullptr);
  return true;
}

bool library_weight_gradient(const ConvShape& shape, const float* input, const float* weight, const float* d_output,
                             float* d_weight, bool accumulate, Stream) {
  blocked_weight_gradient(shape, {}, input, weight, d_output, d_weight, accumulate, nullptr);
  return true;
}

}  // namespace omniconv::conv
