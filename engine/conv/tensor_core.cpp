#include "engine/conv/tensor_core.h"

#include "engine/conv/library_parts.h"
#include "kernels/od_conv_mma_weight.h"
#include "kernels/od_conv_summed_mma.h"

namespace omniconv::conv {

template <class Half>
void tensor_core_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                                 const Half* weight, const Half* d_output, float* d_weight, bool accumulate,
                                 float* weighted_kst, Stream stream) {
  const Buffer<float> workspace(kernels::od_conv_mma_weight_gradient_workspace(shape, attention.kernels));
  kernels::od_conv_mma_weight_gradient(shape, attention, input, d_output, weight, d_weight, accumulate, weighted_kst,
                                       workspace.get(), stream);
}

template <class Half>
void summed_tensor_core_forward(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                                const Half* weight, Half* output, float* moments, Stream stream) {
  const Buffer<Half> scaled_input(attention.channel ? shape.input_count() : 0);
  kernels::od_conv_summed_mma_forward(shape, attention, input, weight, output, moments, scaled_input.get(), stream);
}

template <class Half>
void summed_tensor_core_data_gradient(const ConvShape& shape, const AttentionValues<float>& attention,
                                      const Half* input, const Half* weight, const Half* d_output, Half* d_input,
                                      bool accumulate, float* weighted_channel, float* weighted_kst, Stream stream) {
  const Buffer<Half> scaled_gradient(attention.filter ? shape.output_count() : 0);
  const Buffer<float> workspace(
      weighted_kst ? kernels::od_conv_summed_mma_data_gradient_workspace(shape, attention.kernels) : 0);
  kernels::od_conv_summed_mma_data_gradient(shape, attention, input, weight, d_output, d_input, accumulate,
                                            weighted_channel, weighted_kst, scaled_gradient.get(), workspace.get(),
                                            stream);
}

template <class Half>
void summed_tensor_core_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention,
                                        const Half* input, const Half* d_output, float* d_weight, bool accumulate,
                                        Stream stream) {
  const Buffer<Half> scaled_input(attention.channel ? shape.input_count() : 0);
  const Buffer<Half> scaled_gradient(attention.filter ? shape.output_count() : 0);
  const Buffer<float> workspace(kernels::od_conv_summed_mma_weight_gradient_workspace(shape, attention.kernels));
  kernels::od_conv_summed_mma_weight_gradient(shape, attention, input, d_output, d_weight, accumulate,
                                              scaled_input.get(), scaled_gradient.get(), workspace.get(), stream);
}

#define OMNICONV_INSTANTIATE(Half)                                                                                     \
  template void tensor_core_weight_gradient(const ConvShape&, const AttentionValues<float>&, const Half*, const Half*, \
                                            const Half*, float*, bool, float*, Stream);                                \
  template void summed_tensor_core_forward(const ConvShape&, const AttentionValues<float>&, const Half*, const Half*,  \
                                           Half*, float*, Stream);                                                     \
  template void summed_tensor_core_data_gradient(const ConvShape&, const AttentionValues<float>&, const Half*,         \
                                                 const Half*, const Half*, Half*, bool, float*, float*, Stream);       \
  template void summed_tensor_core_weight_gradient(const ConvShape&, const AttentionValues<float>&, const Half*,       \
                                                   const Half*, float*, bool, Stream);
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::conv
