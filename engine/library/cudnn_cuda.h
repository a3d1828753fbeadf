// cuDNN, loaded when it is first needed: a program that is linked against it would not even start without it, and could
// not say what to do. The functions below have cuDNN's names and arguments; use them from this namespace.
#pragma once

#include <cudnn.h>

#include <initializer_list>
#include <string>

static_assert(CUDNN_MAJOR >= 9, "cuDNN 9 or newer is needed: name its folder with -DCUDNN_ROOT=...");

namespace omniconv::library {

/// The first of these shared libraries that can be loaded. @throws Error with the remedy where none can.
void* load_cudnn(std::initializer_list<const char*> files);

/// The address of a function of cuDNN: as the system's loader finds it, else of the one this build found. @throws Error
/// as load_cudnn does, or where the library lacks the function.
void* cudnn_function(const char* name);

/// "cuDNN 9.19.0", or "no cuDNN" where it is missing.
std::string cudnn_version();

// A type of its own for each, so that a function can be a template argument.
#define OMNICONV_CUDNN(function)                                                                     \
  struct Call_##function {                                                                           \
    template <class... Arguments>                                                                    \
    auto operator()(Arguments... arguments) const {                                                  \
      static const auto loaded = reinterpret_cast<decltype(&::function)>(cudnn_function(#function)); \
      return loaded(arguments...);                                                                   \
    }                                                                                                \
  };                                                                                                 \
  inline constexpr Call_##function function {}

OMNICONV_CUDNN(cudnnGetVersion);
OMNICONV_CUDNN(cudnnGetErrorString);
OMNICONV_CUDNN(cudnnGetLastErrorString);
OMNICONV_CUDNN(cudnnCreate);
OMNICONV_CUDNN(cudnnDestroy);
OMNICONV_CUDNN(cudnnSetStream);
OMNICONV_CUDNN(cudnnCreateTensorDescriptor);
OMNICONV_CUDNN(cudnnDestroyTensorDescriptor);
OMNICONV_CUDNN(cudnnSetTensor4dDescriptor);
OMNICONV_CUDNN(cudnnCreateFilterDescriptor);
OMNICONV_CUDNN(cudnnDestroyFilterDescriptor);
OMNICONV_CUDNN(cudnnSetFilter4dDescriptor);
OMNICONV_CUDNN(cudnnCreateConvolutionDescriptor);
OMNICONV_CUDNN(cudnnDestroyConvolutionDescriptor);
OMNICONV_CUDNN(cudnnSetConvolution2dDescriptor);
OMNICONV_CUDNN(cudnnSetConvolutionGroupCount);
OMNICONV_CUDNN(cudnnSetConvolutionMathType);
OMNICONV_CUDNN(cudnnGetConvolutionForwardAlgorithm_v7);
OMNICONV_CUDNN(cudnnGetConvolutionForwardWorkspaceSize);
OMNICONV_CUDNN(cudnnConvolutionForward);
OMNICONV_CUDNN(cudnnGetConvolutionBackwardDataAlgorithm_v7);
OMNICONV_CUDNN(cudnnGetConvolutionBackwardDataWorkspaceSize);
OMNICONV_CUDNN(cudnnConvolutionBackwardData);
OMNICONV_CUDNN(cudnnGetConvolutionBackwardFilterAlgorithm_v7);
OMNICONV_CUDNN(cudnnGetConvolutionBackwardFilterWorkspaceSize);
OMNICONV_CUDNN(cudnnConvolutionBackwardFilter);
#undef OMNICONV_CUDNN

}  // namespace omniconv::library
