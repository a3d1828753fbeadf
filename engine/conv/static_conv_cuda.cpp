#include <algorithm>
#include <array>
#include <climits>
#include <cstdint>
#include <map>
#include <memory>
#include <type_traits>
#include <vector>

#include "engine/allocator.h"
#include "engine/conv/library_parts.h"
#include "engine/conv/static_conv_library.h"
#include "engine/library/handles_cuda.h"
#include "kernels/error.h"

// Convolutions through cuDNN, accumulated in f32 whatever the tensors' type. For each shape, type and direction its
// heuristics name algorithms, which are deterministic functions of the shape; those that are not reproducible, or want
// too much memory, are left out, and the first one that cuDNN really has is kept. Nothing is timed, so equal runs take
// equal algorithms.

namespace omniconv::conv {

namespace {

using namespace library;  // with cuDNN's functions

// Most algorithms need far less; those that lay out all patches would need gigabytes.
constexpr std::size_t workspace_limit = std::size_t{256} << 20;

template <class Handle, auto destroy, class Create>
Owned<Handle, destroy> make(const Create& create) {
  Handle handle = nullptr;
  OMNICONV_CHECK_LIBRARY(create(&handle));
  return Owned<Handle, destroy>(handle);
}

using TensorDescriptor = Owned<cudnnTensorDescriptor_t, cudnnDestroyTensorDescriptor>;
using FilterDescriptor = Owned<cudnnFilterDescriptor_t, cudnnDestroyFilterDescriptor>;
using ConvDescriptor = Owned<cudnnConvolutionDescriptor_t, cudnnDestroyConvolutionDescriptor>;

int extent(std::int64_t value) {
  expect(value <= INT_MAX, "conv2d", "expected extents that cuDNN can hold, at most ", INT_MAX, ", got ", value);
  return static_cast<int>(value);
}

template <class T>
constexpr cudnnDataType_t data_type = CUDNN_DATA_FLOAT;
template <>
constexpr cudnnDataType_t data_type<bf16> = CUDNN_DATA_BFLOAT16;
template <>
constexpr cudnnDataType_t data_type<f16> = CUDNN_DATA_HALF;

// f32 is multiplied as f32, not as TF32; 16 bits are what tensor cores take.
template <class T>
constexpr cudnnMathType_t math_type = is_half<T> ? CUDNN_TENSOR_OP_MATH : CUDNN_FMA_MATH;

TensorDescriptor channels_last(cudnnDataType_t type, std::int64_t samples, std::int64_t height, std::int64_t width,
                               std::int64_t channels) {
  auto descriptor = make<cudnnTensorDescriptor_t, cudnnDestroyTensorDescriptor>(cudnnCreateTensorDescriptor);
  OMNICONV_CHECK_LIBRARY(cudnnSetTensor4dDescriptor(descriptor.get(), CUDNN_TENSOR_NHWC, type, extent(samples),
                                                    extent(channels), extent(height), extent(width)));
  return descriptor;
}

FilterDescriptor filter_of(cudnnDataType_t type, const ConvShape& shape) {
  auto descriptor = make<cudnnFilterDescriptor_t, cudnnDestroyFilterDescriptor>(cudnnCreateFilterDescriptor);
  OMNICONV_CHECK_LIBRARY(cudnnSetFilter4dDescriptor(descriptor.get(), type, CUDNN_TENSOR_NHWC,
                                                    extent(shape.out_channels), extent(shape.group_in()),
                                                    extent(shape.kernel_height), extent(shape.kernel_width)));
  return descriptor;
}

ConvDescriptor walk_of(const Conv2dParams& params, cudnnMathType_t math) {
  auto descriptor =
      make<cudnnConvolutionDescriptor_t, cudnnDestroyConvolutionDescriptor>(cudnnCreateConvolutionDescriptor);
  const int padding = extent(params.padding), stride = extent(params.stride), dilation = extent(params.dilation);
  OMNICONV_CHECK_LIBRARY(cudnnSetConvolution2dDescriptor(descriptor.get(), padding, padding, stride, stride, dilation,
                                                         dilation, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
  OMNICONV_CHECK_LIBRARY(cudnnSetConvolutionGroupCount(descriptor.get(), extent(params.groups)));
  OMNICONV_CHECK_LIBRARY(cudnnSetConvolutionMathType(descriptor.get(), math));
  return descriptor;
}

struct Descriptors {
  Descriptors(const ConvShape& shape, cudnnDataType_t type, cudnnMathType_t math)
      : input(channels_last(type, shape.samples, shape.height, shape.width, shape.in_channels)),
        output(channels_last(type, shape.samples, shape.out_height(), shape.out_width(), shape.out_channels)),
        filter(filter_of(type, shape)),
        walk(walk_of(shape.params, math)) {}

  TensorDescriptor input, output;
  FilterDescriptor filter;
  ConvDescriptor walk;
};

struct Scratch {
  void* memory = nullptr;
  std::size_t bytes = 0;
};

// cuDNN's calls of the three directions, under one set of names. `run` computes result = conv(a, b) + beta·result.

struct Forward {
  using Suggestion = cudnnConvolutionFwdAlgoPerf_t;
  using Algorithm = cudnnConvolutionFwdAlgo_t;
  static constexpr int algorithms = CUDNN_CONVOLUTION_FWD_ALGO_COUNT;
  static constexpr Algorithm last_resort = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM;

  static cudnnStatus_t suggest(cudnnHandle_t handle, const Descriptors& d, int* count, Suggestion* suggestions) {
    return cudnnGetConvolutionForwardAlgorithm_v7(handle, d.input.get(), d.filter.get(), d.walk.get(), d.output.get(),
                                                  algorithms, count, suggestions);
  }
  static cudnnStatus_t scratch_bytes(cudnnHandle_t handle, const Descriptors& d, Algorithm algorithm,
                                     std::size_t* bytes) {
    return cudnnGetConvolutionForwardWorkspaceSize(handle, d.input.get(), d.filter.get(), d.walk.get(), d.output.get(),
                                                   algorithm, bytes);
  }
  static cudnnStatus_t run(cudnnHandle_t handle, const Descriptors& d, Algorithm algorithm, Scratch scratch,
                           const void* input, const void* weight, float beta, void* output) {
    const float alpha = 1;
    return cudnnConvolutionForward(handle, &alpha, d.input.get(), input, d.filter.get(), weight, d.walk.get(),
                                   algorithm, scratch.memory, scratch.bytes, &beta, d.output.get(), output);
  }
};

struct DataGradient {
  using Suggestion = cudnnConvolutionBwdDataAlgoPerf_t;
  using Algorithm = cudnnConvolutionBwdDataAlgo_t;
  static constexpr int algorithms = CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT;
  static constexpr Algorithm last_resort = CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;

  static cudnnStatus_t suggest(cudnnHandle_t handle, const Descriptors& d, int* count, Suggestion* suggestions) {
    return cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, d.filter.get(), d.output.get(), d.walk.get(),
                                                       d.input.get(), algorithms, count, suggestions);
  }
  static cudnnStatus_t scratch_bytes(cudnnHandle_t handle, const Descriptors& d, Algorithm algorithm,
                                     std::size_t* bytes) {
    return cudnnGetConvolutionBackwardDataWorkspaceSize(handle, d.filter.get(), d.output.get(), d.walk.get(),
                                                        d.input.get(), algorithm, bytes);
  }
  static cudnnStatus_t run(cudnnHandle_t handle, const Descriptors& d, Algorithm algorithm, Scratch scratch,
                           const void* weight, const void* d_output, float beta, void* d_input) {
    const float alpha = 1;
    return cudnnConvolutionBackwardData(handle, &alpha, d.filter.get(), weight, d.output.get(), d_output, d.walk.get(),
                                        algorithm, scratch.memory, scratch.bytes, &beta, d.input.get(), d_input);
  }
};

struct WeightGradient {
  using Suggestion = cudnnConvolutionBwdFilterAlgoPerf_t;
  using Algorithm = cudnnConvolutionBwdFilterAlgo_t;
  static constexpr int algorithms = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT;
  static constexpr Algorithm last_resort = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;

  static cudnnStatus_t suggest(cudnnHandle_t handle, const Descriptors& d, int* count, Suggestion* suggestions) {
    return cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, d.input.get(), d.output.get(), d.walk.get(),
                                                         d.filter.get(), algorithms, count, suggestions);
  }
  static cudnnStatus_t scratch_bytes(cudnnHandle_t handle, const Descriptors& d, Algorithm algorithm,
                                     std::size_t* bytes) {
    return cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, d.input.get(), d.output.get(), d.walk.get(),
                                                          d.filter.get(), algorithm, bytes);
  }
  static cudnnStatus_t run(cudnnHandle_t handle, const Descriptors& d, Algorithm algorithm, Scratch scratch,
                           const void* input, const void* d_output, float beta, void* d_weight) {
    const float alpha = 1;
    return cudnnConvolutionBackwardFilter(handle, &alpha, d.input.get(), input, d.output.get(), d_output, d.walk.get(),
                                          algorithm, scratch.memory, scratch.bytes, &beta, d.filter.get(), d_weight);
  }
};

/// The algorithms to try for one direction of one shape of T, best first.
template <class Calls, class T>
class Plan {
 public:
  /// The plan for a shape, made at the first call.
  static Plan& get(const ConvShape& shape, cudnnHandle_t handle) {
    // Never destroyed: cuDNN may be gone before objects in static storage are.
    static auto& plans = *new std::map<ConvShape, Plan>;
    const auto found = plans.find(shape);
    return found != plans.end() ? found->second : plans.emplace(shape, Plan(shape, handle)).first->second;
  }

  /// Returns false, having computed nothing, when no algorithm is left.
  bool run(cudnnHandle_t handle, const T* a, const T* b, bool accumulate, T* result) {
    // What cuDNN refuses only now is dropped, so that later calls start with what works.
    for (; !candidates_.empty(); candidates_.erase(candidates_.begin())) {
      const Candidate& candidate = candidates_.front();
      std::shared_ptr<void> memory;
      if (candidate.scratch_bytes > 0) memory = allocate(candidate.scratch_bytes);
      const cudnnStatus_t status =
          Calls::run(handle, descriptors_, candidate.algorithm, {memory.get(), candidate.scratch_bytes}, a, b,
                     accumulate ? 1.0f : 0.0f, result);
      if (is_unsupported(status)) continue;
      if (status != CUDNN_STATUS_SUCCESS) library::check(status, "the convolution");
      return true;
    }
    return false;
  }

 private:
  struct Candidate {
    typename Calls::Algorithm algorithm;
    std::size_t scratch_bytes;
  };

  Plan(const ConvShape& shape, cudnnHandle_t handle) : descriptors_(shape, data_type<T>, math_type<T>) {
    std::array<typename Calls::Suggestion, Calls::algorithms> suggestions = {};
    int count = 0;
    const cudnnStatus_t status = Calls::suggest(handle, descriptors_, &count, suggestions.data());
    if (is_unsupported(status)) return;
    OMNICONV_CHECK_LIBRARY(status);
    bool has_last_resort = true;  // unless the heuristics know better
    for (int i = 0; i < count; ++i) {
      const auto& suggestion = suggestions[static_cast<std::size_t>(i)];
      const bool reproducible = suggestion.determinism == CUDNN_DETERMINISTIC;
      if (suggestion.status == CUDNN_STATUS_SUCCESS && reproducible) add(handle, suggestion.algo);
      if (suggestion.algo == Calls::last_resort && !reproducible) has_last_resort = false;
    }
    if (has_last_resort) add(handle, Calls::last_resort);
  }

  // The descriptor's arithmetic holds whatever the suggestion says, so what counts is what cuDNN needs, and whether it
  // can, under this descriptor.
  void add(cudnnHandle_t handle, typename Calls::Algorithm algorithm) {
    for (const Candidate& candidate : candidates_)
      if (candidate.algorithm == algorithm) return;
    std::size_t bytes = 0;
    const cudnnStatus_t status = Calls::scratch_bytes(handle, descriptors_, algorithm, &bytes);
    if (is_unsupported(status)) return;
    OMNICONV_CHECK_LIBRARY(status);
    if (bytes <= workspace_limit) candidates_.push_back({algorithm, bytes});
  }

  Descriptors descriptors_;
  std::vector<Candidate> candidates_;
};

// cuDNN counts elements in 32 bits.
bool countable(const ConvShape& shape) {
  return std::max({shape.input_count(), shape.output_count(), shape.weight_count()}) <= INT_MAX;
}

// cuDNN's kernels read and write 16 bytes at once.
bool aligned(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0;
}

template <class Calls, class T>
bool run(const ConvShape& shape, const T* a, const T* b, bool accumulate, T* result, Stream stream) {
  if (!countable(shape) || !aligned(a) || !aligned(b) || !aligned(result)) return false;
  const cudnnHandle_t handle = cudnn_handle(stream);
  return Plan<Calls, T>::get(shape, handle).run(handle, a, b, accumulate, result);
}

}  // namespace

template <class T>
bool library_forward(const ConvShape& shape, const T* input, const T* weight, T* output, Stream stream) {
  return run<Forward>(shape, input, weight, false, output, stream);
}

template <class T>
bool library_data_gradient(const ConvShape& shape, const T* weight, const T* d_output, T* d_input, bool accumulate,
                           Stream stream) {
  return run<DataGradient>(shape, weight, d_output, accumulate, d_input, stream);
}

template <class T>
bool library_weight_gradient(const ConvShape& shape, const T* input, const T*, const T* d_output, float* d_weight,
                             bool accumulate, Stream stream) {
  if constexpr (std::is_same_v<T, float>) {
    return run<WeightGradient>(shape, input, d_output, accumulate, d_weight, stream);
  } else {
    // cuDNN rounds its sums to the tensors' type.
    const Buffer<T> rounded(shape.weight_count());
    if (!run<WeightGradient>(shape, input, d_output, false, rounded.get(), stream)) return false;
    kernels::convert(rounded.get(), d_weight, shape.weight_count(), accumulate, stream);
    return true;
  }
}

#define OMNICONV_INSTANTIATE(T)                                                                \
  template bool library_forward(const ConvShape&, const T*, const T*, T*, Stream);             \
  template bool library_data_gradient(const ConvShape&, const T*, const T*, T*, bool, Stream); \
  template bool library_weight_gradient(const ConvShape&, const T*, const T*, const T*, float*, bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::conv
