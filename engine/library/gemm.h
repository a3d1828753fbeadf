// Matrix products of the device's library: cuBLAS on CUDA, oneDNN on the CPU; f64 on the CPU through our own kernel.
#pragma once

#include <string>

#include "kernels/gemm.h"

namespace omniconv::library {

/// c[b] = a[b]·b[b] (+ c[b] if accumulate), row-major operands as described by `shape`. Results do not depend on the
/// number of host threads. @throws Error with the library's own message.
template <class T>
void gemm(const kernels::GemmShape& shape, const T* a, const T* b, T* c, bool accumulate, Stream stream);

/// Names and versions of the libraries in use, such as "oneDNN 2.6.3".
std::string versions();

}  // namespace omniconv::library
