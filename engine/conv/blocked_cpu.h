// Algorithm B on the CPU: per-sample aggregated weights are built in the library's packed layout, in cache, and consumed
// at once by its convolution of one sample. Static convolutions are the case without attention.
//
// Wide layers are cut into slices of output (for the data gradient: input) channels, such that a slice of all K
// kernels stays in cache while a group of samples passes. Work is split by shape alone, so results do not depend on the
// number of threads.
#pragma once

#include "engine/conv/epilogue.h"
#include "engine/tensor.h"
#include "kernels/conv_shape.h"

namespace omniconv::conv {

/// Kernels in the library's packed layout, cut into slices of channels.
struct PackedSlices {
  std::int64_t width = 0;         // channels per slice
  std::int64_t count = 0;         // slices
  std::int64_t packed_count = 0;  // floats per packed kernel slice
  Tensor packed;                  // [slices, K, packed_count]

  float* slice(std::int64_t index, std::int64_t kernels) const {
    return packed.data<float>() + index * kernels * packed_count;
  }
};

/// The kernels [K, O, R, S, I/g] packed for blocked_forward with any number of samples; in at least `least_slices`
/// slices where the channels allow it.
PackedSlices pack_forward(const ConvShape& shape, std::int64_t kernels, const float* weight,
                          std::int64_t least_slices = 1);

/// output [N, OH, OW, O] = epilogue(f ⊙ conv(x ⊙ c, Σ_k p_k s ⊙ W_k)).
void blocked_forward(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                     const PackedSlices& weights, const Epilogue<float>& epilogue, float* output);
/// The same for weight [K, O, R, S, I/g], without epilogue.
void blocked_forward(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                     const float* weight, float* output);

/// d_input (+)= c ⊙ conv_transpose(f ⊙ d_output, Σ_k q W_k); with weighted_channel also C [N, I], which needs input.
void blocked_data_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                           const float* weight, const float* d_output, float* d_input, bool accumulate,
                           float* weighted_channel);

/// d_weight [K, O, R, S, I/g] (+)= Σ_n q D_n; weighted_kst [N, K, R·S] = Q, or nullptr without attention.
void blocked_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                             const float* weight, const float* d_output, float* d_weight, bool accumulate,
                             float* weighted_kst);

}  // namespace omniconv::conv
