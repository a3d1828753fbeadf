// The aggregated convolution of ODConv on tensor cores, in bf16 and f16: algorithm B on CUDA.
//
// A block builds a tile of Σ_k q_nkt W_k for each of its samples, in shared memory or in the registers of a sample's
// warps, rounds it to 16 bits once, and uses it for all of the sample's pixels there; K kernels are read once per block
// and step. Forward and data gradient are the
// same product with other operands: rows are pixels, columns are output (input) channels, and the inner dimension runs
// over taps and input (output) channels. Sums are f32, as are attention and aggregation.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/half.h"
#include "kernels/moments.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// Whether the kernels take this shape with so many kernels: one group, channels that are multiples of 8, at most 64
/// taps, images below 8192 pixels a side, and tiles that fit the device's shared memory.
bool od_conv_mma_takes(const ConvShape& shape, std::int64_t kernels);

/// output [N, OH, OW, O] = f ⊙ conv(x ⊙ c, Σ_k q_k ⊙ W_k). input [N, H, W, I], weight [K, O, R, S, I], all of Half at
/// multiples of 16 bytes. moments [parts, 2, O], or nullptr: those of the output as it is stored, for a norm behind.
/// @throws Error unless od_conv_mma_takes the shape.
template <class Half>
void od_conv_mma_forward(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                         const Half* weight, Half* output, float* moments, Stream stream);

/// The parts that the moments are of: a sample's pixels in a tile.
MomentParts od_conv_mma_moments(const ConvShape& shape, std::int64_t kernels);

/// Into how many parts the data gradient's blocks cut the pixels of a sample.
std::int64_t od_conv_mma_dot_parts(const ConvShape& shape, std::int64_t kernels);

/// d_input [N, H, W, I] (+)= dx = c ⊙ conv_transpose(f ⊙ d_output, Σ_k q_k W_k) and, unless nullptr,
/// weighted_channel [N, od_conv_mma_dot_parts, I], whose parts add up to C = Σ_p input ⊙ dx, from dx before it is
/// rounded; only for it, input is read. @throws Error unless od_conv_mma_takes the shape.
template <class Half>
void od_conv_mma_data_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                               const Half* weight, const Half* d_output, Half* d_input, bool accumulate,
                               float* weighted_channel, Stream stream);

}  // namespace omniconv::kernels
