// Global average pool. Pixels of bf16 or f16 become sums, and scales apply to them, in float.
#pragma once

#include <cstdint>

#include "kernels/half.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// output[n, c] = 1/P Σ_p input[n, p, c]. input [N, P, C] (P = H·W pixels), output [N, C].
template <class T>
void global_average_pool_forward(const T* input, compute_type_t<T>* output, std::int64_t samples, std::int64_t pixels,
                                 std::int64_t channels, Stream stream);

/// d_input[n, p, c] (+)= d_output[n, c] / P.
template <class T>
void global_average_pool_backward(const compute_type_t<T>* d_output, T* d_input, std::int64_t samples,
                                  std::int64_t pixels, std::int64_t channels, bool accumulate, Stream stream);

/// sums[n, c] = Σ_p a[n, p, c] · b[n, p, c]. a, b [N, P, C], sums [N, C]. Serves R and C of ODConv's gradients.
template <class T>
void pixel_dot(const T* a, const T* b, compute_type_t<T>* sums, std::int64_t samples, std::int64_t pixels,
               std::int64_t channels, Stream stream);

/// output[n, p, c] (+)= input[n, p, c] · scale[n, c]: channel attention on the input, filter attention on the output.
template <class T>
void scale_channels(const T* input, const compute_type_t<T>* scale, T* output, std::int64_t samples,
                    std::int64_t pixels, std::int64_t channels, bool accumulate, Stream stream);

}  // namespace omniconv::kernels
