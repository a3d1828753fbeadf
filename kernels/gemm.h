// Matrix product, tiled in shared memory: the product for f64, small f32 products, and the oracle of the libraries.
#pragma once

#include <cstdint>

#include "kernels/half.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// Row-major operands of a batch of products C = A·B (+ C).
struct GemmShape {
  std::int64_t batch = 1;
  std::int64_t rows = 0;     ///< of C
  std::int64_t columns = 0;  ///< of C
  std::int64_t inner = 0;
  bool transpose_a = false;  ///< A is stored [inner, rows] instead of [rows, inner]
  bool transpose_b = false;  ///< B is stored [columns, inner] instead of [inner, columns]
  std::int64_t stride_a = 0, stride_b = 0, stride_c = 0;  ///< elements between consecutive products
};

/// c[b] = a[b]·b[b] (+ c[b] if accumulate), for f32 and f64. Sums run over `inner` in order, so the result does not
/// depend on the launch.
template <class T>
void gemm(const GemmShape& shape, const T* a, const T* b, T* c, bool accumulate, Stream stream);

/// output[r, c] += bias[c], in place. output [rows, columns], bias [columns].
template <class T>
void add_bias(T* output, const T* bias, std::int64_t rows, std::int64_t columns, Stream stream);

/// sums[c] = Σ_r input[r, c] (+ sums[c] if accumulate). input [rows, columns] of T, bf16 and f16 too, sums [columns].
template <class T>
void column_sums(const T* input, compute_type_t<T>* sums, std::int64_t rows, std::int64_t columns, bool accumulate,
                 Stream stream);

}  // namespace omniconv::kernels
