// Layer norm over the columns of [N, A] with fused ReLU, for attention trunks that must not mix samples.
//
//   y = relu?( gamma · (x - mean) · rstd + beta ),   mean and biased variance over the A features of each row
//
// Ba, Kiros & Hinton, 2016; the backward is batch norm's with rows and columns exchanged.
#pragma once

#include <cstdint>

#include "kernels/simt/stream.h"

namespace omniconv::kernels {

struct LayerNormShape {
  std::int64_t rows = 0;      ///< N
  std::int64_t features = 0;  ///< A
  double epsilon = 1e-5;
  bool relu = false;
};

/// output [N, A]; mean and rstd [N] are kept for the backward. gamma, beta [A].
template <class T>
void layer_norm_forward(const LayerNormShape& shape, const T* input, const T* gamma, const T* beta, T* mean, T* rstd,
                        T* output, Stream stream);

/// Each target may be nullptr (not wanted) and has its own accumulate flag; d_output is masked by output > 0 first
/// where shape.relu.
template <class T>
struct LayerNormBackward {
  const T* input;     // [N, A]
  const T* output;    // [N, A]
  const T* d_output;  // [N, A]
  const T* mean;      // [N]
  const T* rstd;      // [N]
  const T* gamma;     // [A]
  T* d_input = nullptr;  // [N, A]
  bool accumulate_input = false;
  T* d_gamma = nullptr;  // [A]
  bool accumulate_gamma = false;
  T* d_beta = nullptr;  // [A]
  bool accumulate_beta = false;
};

template <class T>
void layer_norm_backward(const LayerNormShape& shape, const LayerNormBackward<T>& arguments, Stream stream);

}  // namespace omniconv::kernels
