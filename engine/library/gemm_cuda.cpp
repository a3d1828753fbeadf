#include "engine/library/gemm.h"

#include <algorithm>

#include "engine/library/handles_cuda.h"
#include "kernels/error.h"

namespace omniconv::library {

namespace {

cublasStatus_t multiply(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, std::int64_t m,
                        std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda,
                        std::int64_t stride_a, const float* b, std::int64_t ldb, std::int64_t stride_b, float beta,
                        float* c, std::int64_t ldc, std::int64_t stride_c, std::int64_t batch) {
  return cublasSgemmStridedBatched_64(handle, op_a, op_b, m, n, k, &alpha, a, lda, stride_a, b, ldb, stride_b, &beta, c,
                                      ldc, stride_c, batch);
}

cublasStatus_t multiply(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, std::int64_t m,
                        std::int64_t n, std::int64_t k, double alpha, const double* a, std::int64_t lda,
                        std::int64_t stride_a, const double* b, std::int64_t ldb, std::int64_t stride_b, double beta,
                        double* c, std::int64_t ldc, std::int64_t stride_c, std::int64_t batch) {
  return cublasDgemmStridedBatched_64(handle, op_a, op_b, m, n, k, &alpha, a, lda, stride_a, b, ldb, stride_b, &beta, c,
                                      ldc, stride_c, batch);
}

std::string version_of(cublasStatus_t (*property)(libraryPropertyType, int*)) {
  int major = 0, minor = 0, patch = 0;
  OMNICONV_CHECK_LIBRARY(property(MAJOR_VERSION, &major));
  OMNICONV_CHECK_LIBRARY(property(MINOR_VERSION, &minor));
  OMNICONV_CHECK_LIBRARY(property(PATCH_LEVEL, &patch));
  return concat(major, '.', minor, '.', patch);
}

}  // namespace

// cuBLAS reads matrices by columns. What lies row by row is to it the transpose, and Cᵀ = Bᵀ·Aᵀ: the operands change
// places, and nothing is moved.
template <class T>
void gemm(const kernels::GemmShape& shape, const T* a, const T* b, T* c, bool accumulate, Stream stream) {
  if (shape.batch == 0 || shape.rows == 0 || shape.columns == 0) return;
  const std::int64_t row_a = shape.transpose_a ? shape.rows : shape.inner;
  const std::int64_t row_b = shape.transpose_b ? shape.inner : shape.columns;
  OMNICONV_CHECK_LIBRARY(multiply(
      cublas_handle(stream), shape.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, shape.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
      shape.columns, shape.rows, shape.inner, T{1}, b, std::max<std::int64_t>(row_b, 1), shape.stride_b, a,
      std::max<std::int64_t>(row_a, 1), shape.stride_a, accumulate ? T{1} : T{0}, c, shape.columns, shape.stride_c,
      shape.batch));
}

template void gemm(const kernels::GemmShape&, const float*, const float*, float*, bool, Stream);
template void gemm(const kernels::GemmShape&, const double*, const double*, double*, bool, Stream);

std::string versions() {
  const std::size_t cudnn = cudnnGetVersion();  // 91900 for 9.19.0
  return concat("CUDA ", CUDART_VERSION / 1000, '.', CUDART_VERSION % 1000 / 10, ", cuBLAS ",
                version_of(cublasGetProperty), ", cuDNN ", cudnn / 10000, '.', cudnn / 100 % 100, '.', cudnn % 100);
}

}  // namespace omniconv::library
