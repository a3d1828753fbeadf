// Algorithm B on the CPU where the result of a sample has few pixels: each aggregated vector of weights meets all of
// them in registers the moment it is formed and is never stored. A single sample then takes as long as reading the
// kernels does.
#pragma once

#include <cstdint>

#include "engine/conv/epilogue.h"
#include "engine/conv/plan.h"
#include "engine/tensor.h"
#include "kernels/conv_shape.h"

namespace omniconv::conv {

/// Whether it is worth while in this build: sixteen sums of sixteen floats want the registers of AVX-512.
#ifdef __AVX512F__
inline constexpr bool streaming_pays = true;
#else
inline constexpr bool streaming_pays = false;
#endif

/// Whether the functions below compute this: results of at most 16 pixels with channels in multiples of 16, at most 4
/// kernels, one group. `direction` is not the weight gradient.
bool streams(const ConvShape& shape, std::int64_t kernels, Direction direction);

/// The kernels [K, O, R, S, I] in the order in which streamed_forward reads them, for any number of samples.
Tensor pack_streamed(const ConvShape& shape, std::int64_t kernels, const float* weight);

/// output [N, OH, OW, O] = epilogue(f ⊙ conv(x ⊙ c, Σ_k q_k ⊙ W_k)), of packed kernels.
void streamed_forward(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                      const Tensor& packed, const Epilogue<float>& epilogue, float* output);
/// The same for weight [K, O, R, S, I], without epilogue.
void streamed_forward(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                      const float* weight, float* output);

/// d_input (+)= c ⊙ conv_transpose(f ⊙ d_output, Σ_k q W_k); with weighted_channel also C [N, I] = Σ_p x ⊙ dx_conv,
/// which needs input.
void streamed_data_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                            const float* weight, const float* d_output, float* d_input, bool accumulate,
                            float* weighted_channel);

}  // namespace omniconv::conv
