// oneDNN's matrix product by one thread, for use inside parallel_units.
#pragma once

#include <cstdint>

namespace omniconv::library {

/// A row-major matrix as it lies in memory; `transposed` if the product reads it the other way round.
struct MatrixView {
  const float* data;
  std::int64_t row_step;
  bool transposed = false;
};

/// c [rows, columns] (+)= a [rows, inner] · b [inner, columns]; `row_step` elements from one row of c to the next.
/// @throws Error where the library refuses.
void sgemm(std::int64_t rows, std::int64_t columns, std::int64_t inner, const MatrixView& a, const MatrixView& b,
           float* c, std::int64_t row_step, bool accumulate);

}  // namespace omniconv::library
