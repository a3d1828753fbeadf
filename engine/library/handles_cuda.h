// The handles of cuBLAS and cuDNN, and checks of what the two return.
#pragma once

#include <cublas_v2.h>

#include <memory>
#include <source_location>
#include <type_traits>

#include "engine/library/cudnn_cuda.h"
#include "kernels/simt/stream.h"

namespace omniconv::library {

/// Throws Error with the library's own text, the expression and its place unless `status` is success.
void check(cublasStatus_t status, const char* expression,
           const std::source_location& where = std::source_location::current());
void check(cudnnStatus_t status, const char* expression,
           const std::source_location& where = std::source_location::current());

/// Whether cuDNN refused because it has no code for what it was asked, and nothing was computed.
inline bool is_unsupported(cudnnStatus_t status) {
  return CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_CATEGORY(CUDNN_STATUS_NOT_SUPPORTED);
}

template <auto destroy>
struct Destroy {
  template <class T>
  void operator()(T* object) const noexcept {
    destroy(object);
  }
};

/// Owns an object of one of the libraries: `Owned<cudnnTensorDescriptor_t, cudnnDestroyTensorDescriptor>`.
template <class Handle, auto destroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<destroy>>;

/// The handles of this process, made at the first call and bound to `stream`: f32 stays f32 (no TF32), results do not
/// change from run to run. They serve one host thread at a time.
cublasHandle_t cublas_handle(Stream stream);
cudnnHandle_t cudnn_handle(Stream stream);

}  // namespace omniconv::library

/// Evaluates a call of cuBLAS or cuDNN and throws Error if it fails.
#define OMNICONV_CHECK_LIBRARY(call) ::omniconv::library::check((call), #call)
