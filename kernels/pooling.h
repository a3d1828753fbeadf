// Global average pool.
#pragma once

#include <cstdint>

#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// output[n, c] = 1/P Σ_p input[n, p, c]. input [N, P, C] (P = H·W pixels), output [N, C].
template <class T>
void global_average_pool_forward(const T* input, T* output, std::int64_t samples, std::int64_t pixels,
                                 std::int64_t channels, Stream stream);

/// d_input[n, p, c] (+)= d_output[n, c] / P.
template <class T>
void global_average_pool_backward(const T* d_output, T* d_input, std::int64_t samples, std::int64_t pixels,
                                  std::int64_t channels, bool accumulate, Stream stream);

/// sums[n, c] = Σ_p a[n, p, c] · b[n, p, c]. a, b [N, P, C], sums [N, C]. Serves R and C of ODConv's gradients.
template <class T>
void pixel_dot(const T* a, const T* b, T* sums, std::int64_t samples, std::int64_t pixels, std::int64_t channels,
               Stream stream);

/// output[n, p, c] (+)= input[n, p, c] · scale[n, c]: channel attention on the input, filter attention on the output.
template <class T>
void scale_channels(const T* input, const T* scale, T* output, std::int64_t samples, std::int64_t pixels,
                    std::int64_t channels, bool accumulate, Stream stream);

}  // namespace omniconv::kernels
