#include "engine/check_cuda.h"
#include "engine/device_code_cuda.h"
#include "kernels/error.h"

namespace omniconv {

namespace {

// Compiled for the same GPUs as all kernels: a device that can load this one can load the others.
__global__ void probe() {}

}  // namespace

std::string compiled_capabilities() {
  std::string text;
  for (const int architecture : {__CUDA_ARCH_LIST__})
    text += concat(text.empty() ? "" : ", ", architecture / 100, '.', architecture / 10 % 10);
  return text;
}

bool device_has_code() {
  cudaFuncAttributes attributes = {};
  const cudaError_t status = cudaFuncGetAttributes(&attributes, probe);
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction ||
      status == cudaErrorUnsupportedPtxVersion) {
    cudaGetLastError();
    return false;
  }
  check_cuda(status, "cudaFuncGetAttributes(&attributes, probe)");
  return true;
}

}  // namespace omniconv
