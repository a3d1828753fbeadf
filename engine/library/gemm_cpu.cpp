#include <oneapi/dnnl/dnnl.hpp>

#include <algorithm>

#include "engine/library/gemm.h"
#include "engine/library/parallel_cpu.h"
#include "engine/library/sgemm_cpu.h"
#include "kernels/error.h"

namespace omniconv::library {

namespace {

// Rows of one library call: enough to be efficient, few enough to share among threads.
constexpr std::int64_t block_rows = 128;

}  // namespace

void sgemm(std::int64_t rows, std::int64_t columns, std::int64_t inner, const MatrixView& a, const MatrixView& b,
           float* c, std::int64_t row_step, bool accumulate) {
  const dnnl_status_t status =
      dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', rows, columns, inner, 1.0f, a.data, a.row_step,
                 b.data, b.row_step, accumulate ? 1.0f : 0.0f, c, row_step);
  expect(status == dnnl_success, "gemm", "expected oneDNN to multiply [", rows, ", ", inner, "] by [", inner, ", ",
         columns, "], got its status ", static_cast<int>(status));
}

template <>
void gemm(const kernels::GemmShape& shape, const double* a, const double* b, double* c, bool accumulate,
          Stream stream) {
  kernels::gemm(shape, a, b, c, accumulate, stream);
}

template <>
void gemm(const kernels::GemmShape& shape, const float* a, const float* b, float* c, bool accumulate, Stream) {
  const std::int64_t row_blocks = (shape.rows + block_rows - 1) / block_rows;
  parallel_units(shape.batch * row_blocks, [&](std::int64_t unit) {
    const std::int64_t product = unit / row_blocks;
    const std::int64_t row = unit % row_blocks * block_rows;
    const std::int64_t rows = std::min(block_rows, shape.rows - row);
    const std::int64_t lda = shape.transpose_a ? shape.rows : shape.inner;
    const std::int64_t ldb = shape.transpose_b ? shape.inner : shape.columns;
    const float* left = a + product * shape.stride_a + (shape.transpose_a ? row : row * lda);
    const float* right = b + product * shape.stride_b;
    float* result = c + product * shape.stride_c + row * shape.columns;
    sgemm(rows, shape.columns, shape.inner, {left, lda, shape.transpose_a}, {right, ldb, shape.transpose_b}, result,
          shape.columns, accumulate);
  });
}

std::string versions() {
  const dnnl_version_t* version = dnnl_version();
  return concat("oneDNN ", version->major, '.', version->minor, '.', version->patch);
}

}  // namespace omniconv::library
