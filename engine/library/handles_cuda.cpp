#include "engine/library/handles_cuda.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "engine/allocator.h"
#include "engine/device.h"
#include "kernels/error.h"

namespace omniconv::library {

namespace {

[[noreturn]] void refuse(const char* library, const std::string& text, const char* expression,
                         const std::source_location& where) {
  const std::string_view path = where.file_name();
  fail(library, "expected ", expression, " to succeed, got ", text, " (", path.substr(path.find_last_of('/') + 1), ':',
       where.line(), ')');
}

/// Calls `create`, and again when what the allocator keeps is given back: a library takes memory of its own, and its
/// answer does not always say that there was none.
template <class Create>
auto with_memory(const Create& create) {
  const auto status = create();
  if (status == decltype(status){}) return status;
  release_cached_memory();
  return create();
}

// What cuBLAS recommends for Hopper. Its own workspace would be allocated in the middle of a graph capture.
constexpr std::size_t cublas_workspace_bytes = std::size_t{32} << 20;

class Cublas {
 public:
  Cublas() {
    require_device();
    cublasHandle_t handle = nullptr;
    OMNICONV_CHECK_LIBRARY(with_memory([&] { return cublasCreate(&handle); }));
    handle_.reset(handle);
    // The default mode multiplies f32 in f32; only CUBLAS_TF32_TENSOR_OP_MATH would round the operands.
    OMNICONV_CHECK_LIBRARY(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH));
    OMNICONV_CHECK_LIBRARY(cublasSetAtomicsMode(handle, CUBLAS_ATOMICS_NOT_ALLOWED));
    workspace_ = allocate(cublas_workspace_bytes);
    bind(main_stream());
  }

  cublasHandle_t get(Stream stream) {
    if (stream.handle != bound_.handle) bind(stream);
    return handle_.get();
  }

 private:
  // Setting the stream also takes the workspace away.
  void bind(Stream stream) {
    OMNICONV_CHECK_LIBRARY(cublasSetStream(handle_.get(), static_cast<cudaStream_t>(stream.handle)));
    OMNICONV_CHECK_LIBRARY(cublasSetWorkspace(handle_.get(), workspace_.get(), cublas_workspace_bytes));
    bound_ = stream;
  }

  std::shared_ptr<void> workspace_;
  Owned<cublasHandle_t, cublasDestroy> handle_;
  Stream bound_ = main_stream();
};

class Cudnn {
 public:
  Cudnn() {
    require_device();
    cudnnHandle_t handle = nullptr;
    const cudnnStatus_t status = with_memory([&] { return cudnnCreate(&handle); });
    expect(status == CUDNN_STATUS_SUCCESS, "cudnn", "expected cuDNN ", CUDNN_MAJOR, " to start, got ",
           cudnnGetErrorString(status), ": are all of its libraries in one folder on LD_LIBRARY_PATH?");
    handle_.reset(handle);
    bind(main_stream());
  }

  cudnnHandle_t get(Stream stream) {
    if (stream.handle != bound_.handle) bind(stream);
    return handle_.get();
  }

 private:
  void bind(Stream stream) {
    OMNICONV_CHECK_LIBRARY(cudnnSetStream(handle_.get(), static_cast<cudaStream_t>(stream.handle)));
    bound_ = stream;
  }

  Owned<cudnnHandle_t, cudnnDestroy> handle_;
  Stream bound_ = main_stream();
};

}  // namespace

void check(cublasStatus_t status, const char* expression, const std::source_location& where) {
  if (status != CUBLAS_STATUS_SUCCESS) refuse("cublas", cublasGetStatusString(status), expression, where);
}

void check(cudnnStatus_t status, const char* expression, const std::source_location& where) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 512> reason = {};
  cudnnGetLastErrorString(reason.data(), reason.size());
  std::string text = cudnnGetErrorString(status);
  if (reason[0] != '\0') text += concat(": ", reason.data());
  std::replace(text.begin(), text.end(), '\n', ' ');  // errors are one line
  refuse("cudnn", text, expression, where);
}

// Never destroyed: CUDA may be gone before objects in static storage are.
cublasHandle_t cublas_handle(Stream stream) {
  static Cublas* instance = new Cublas;
  return instance->get(stream);
}

cudnnHandle_t cudnn_handle(Stream stream) {
  static Cudnn* instance = new Cudnn;
  return instance->get(stream);
}

}  // namespace omniconv::library
