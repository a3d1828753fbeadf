// The weight gradient by Winograd's F(2x2, 3x3) on the CPU, for the shapes that winograd_takes: with the transforms of
// winograd_cpu.h,
//   D = Gᵀ [ Σ_tiles (A g Aᵀ) ⊙ (Bᵀ d B) ] G
// where ⊙, summed over tiles, is a matrix product [O, tiles] · [tiles, I] for each of the 16 points.
#pragma once

#include "kernels/conv_shape.h"

namespace omniconv::conv {

/// d_weight [K, O, 3, 3, I] (+)= Σ_n q_n D_n (unless nullptr); weighted_kst [N, K, 9] = Q, or nullptr without
/// attention, where weight [K, O, 3, 3, I] may be, too.
void winograd_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                              const float* weight, const float* d_output, float* d_weight, bool accumulate,
                              float* weighted_kst);

}  // namespace omniconv::conv
