// Algorithm B on the CPU where a sample has few output pixels: each aggregated vector of weights meets all of them in
// registers the moment it is formed and is never stored. A single sample then takes as long as reading the kernels
// does.
#pragma once

#include <cstdint>

#include "engine/tensor.h"
#include "kernels/conv_shape.h"

namespace omniconv::conv {

inline constexpr std::int64_t streamed_pixels = 16;    ///< the most of an output
inline constexpr std::int64_t streamed_channels = 16;  ///< of the output, at a time
inline constexpr std::int64_t streamed_kernels = 4;    ///< the most

/// Whether it is worth while in this build: sixteen sums of sixteen floats want the registers of AVX-512.
#ifdef __AVX512F__
inline constexpr bool streaming_pays = true;
#else
inline constexpr bool streaming_pays = false;
#endif

/// Whether streamed_forward computes this shape with K `kernels`.
bool streams(const ConvShape& shape, std::int64_t kernels);

/// The input pixels that meet each tap, x ⊙ c as [N, R·S, I, 16 pixels], zero in the padding. input [N, H, W, I];
/// channel [N, I] or nullptr.
Tensor streamed_columns(const ConvShape& shape, const float* input, const float* channel);

/// result [pixels, 16] = conv(columns, Σ_k q_k ⊙ W_k) of one sample, for 16 output channels. Kernel k begins at packed
/// + k · stride and is laid out [R·S, I, 16]; shares q [K, R·S].
void streamed_forward(const ConvShape& shape, std::int64_t kernels, const float* columns, const float* packed,
                      std::int64_t stride, const float* shares, float* result);

}  // namespace omniconv::conv
