// Checking what CUDA's runtime returns.
#pragma once

#include <cuda_runtime.h>

#include <source_location>

namespace omniconv {

/// Throws Error with CUDA's text, the expression and its place unless `status` is success; a pending error is taken
/// back, so that the next call does not report it again.
void check_cuda(cudaError_t status, const char* expression,
                const std::source_location& where = std::source_location::current());

}  // namespace omniconv

/// Evaluates a call of CUDA's runtime and throws Error if it fails.
#define OMNICONV_CHECK_CUDA(call) ::omniconv::check_cuda((call), #call)
