#include "engine/conv/summed.h"

#include <type_traits>

#include "engine/conv/library_parts.h"
#include "kernels/od_conv_summed.h"
#if !OMNICONV_CUDA
#include "engine/conv/summed_cpu.h"
#endif

namespace omniconv::conv {

template <class T>
void summed_forward(const ConvShape& shape, const AttentionValues<T>& attention, const T* input, const T* weight,
                    T* output, Stream stream) {
#if !OMNICONV_CUDA
  if constexpr (std::is_same_v<T, float>) return panel_forward(shape, attention, input, weight, output);
#endif
  kernels::od_conv_summed_forward(shape, attention, input, weight, output, stream);
}

template <class T>
void summed_data_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* input, const T* weight,
                          const T* d_output, T* d_input, bool accumulate, T* weighted_kst, Stream stream) {
#if !OMNICONV_CUDA
  if constexpr (std::is_same_v<T, float>)
    return panel_data_gradient(shape, attention, input, weight, d_output, d_input, accumulate, weighted_kst);
#endif
  const Buffer<T> workspace(weighted_kst ? kernels::od_conv_summed_workspace(shape, attention.kernels) : 0);
  kernels::od_conv_summed_data_gradient(shape, attention, input, d_output, weight, d_input, accumulate, weighted_kst,
                                        workspace.get(), stream);
}

template <class T>
void summed_weight_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                            const T* weight, const T* d_output, T* d_weight, bool accumulate, T* weighted_kst,
                            Stream stream) {
  if (weighted_kst)
    summed_data_gradient<T>(shape, attention, input, weight, d_output, nullptr, false, weighted_kst, stream);
  if (!d_weight) return;
#if !OMNICONV_CUDA
  if constexpr (std::is_same_v<T, float>)
    return panel_weight_gradient(shape, attention, input, d_output, d_weight, accumulate);
#endif
  kernels::od_conv_summed_weight_gradient(shape, attention, input, d_output, d_weight, accumulate, stream);
}

#define OMNICONV_INSTANTIATE(T)                                                                                       \
  template void summed_forward(const ConvShape&, const AttentionValues<T>&, const T*, const T*, T*, Stream);          \
  template void summed_data_gradient(const ConvShape&, const AttentionValues<T>&, const T*, const T*, const T*, T*,   \
                                     bool, T*, Stream);                                                               \
  template void summed_weight_gradient(const ConvShape&, const AttentionValues<T>&, const T*, const T*, const T*, T*, \
                                       bool, T*, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::conv
