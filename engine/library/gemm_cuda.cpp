#include "engine/library/gemm.h"

#include <algorithm>

#include "engine/library/handles_cuda.h"
#include "kernels/error.h"

namespace omniconv::library {

namespace {

template <class T>
constexpr auto multiply = cublasSgemmStridedBatched_64;
template <>
constexpr auto multiply<double> = cublasDgemmStridedBatched_64;

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
  const T alpha = 1, beta = accumulate ? 1 : 0;
  const cublasStatus_t status =
      multiply<T>(cublas_handle(stream), shape.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                  shape.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, shape.columns, shape.rows, shape.inner, &alpha, b,
                  std::max<std::int64_t>(row_b, 1), shape.stride_b, a, std::max<std::int64_t>(row_a, 1), shape.stride_a,
                  &beta, c, shape.columns, shape.stride_c, shape.batch);
  if (status != CUBLAS_STATUS_SUCCESS)
    check(status, concat("the product of [", shape.rows, ", ", shape.inner, "] and [", shape.inner, ", ", shape.columns,
                         "], ", shape.batch, " times,")
                      .c_str());
}

template void gemm(const kernels::GemmShape&, const float*, const float*, float*, bool, Stream);
template void gemm(const kernels::GemmShape&, const double*, const double*, double*, bool, Stream);

std::string versions() {
  return concat("CUDA ", CUDART_VERSION / 1000, '.', CUDART_VERSION % 1000 / 10, ", cuBLAS ",
                version_of(cublasGetProperty), ", ", cudnn_version());
}

}  // namespace omniconv::library
