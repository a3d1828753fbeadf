// Dropout (Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014), inverted:
// what stays is scaled up, so that evaluation needs nothing.
#pragma once

#include <cstdint>

#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// What decides which elements stay: of equal draws, the same ones.
struct DropoutDraw {
  double probability;  ///< of being set to zero, in [0, 1)
  std::uint64_t seed;
  const std::int64_t* step;  ///< [1] on the device: number of the training step, which changes from one to the next
};

/// output[i] (+)= input[i] / (1 - probability) where Philox(seed, dropout's stream of step).uniform(i) >= probability,
/// else 0. The gradient is the same function of the output's gradient. input, output [count].
template <class T>
void dropout(const DropoutDraw& draw, const T* input, T* output, std::int64_t count, bool accumulate, Stream stream);

}  // namespace omniconv::kernels
