// How a kernel runs: one source, on a GPU or on the CPU. For .cu files only, which nvcc compiles when
// OMNICONV_CUDA is 1 and the host compiler (as C++) when it is 0.
//
// A kernel is a `template <class T> OMNI_KERNEL void name(...)` that asks for its place with
// thread_index() and block_index(), shares memory through SharedMemory or shared_array(), meets its block
// at barrier(), and is started with launch(). Work without cooperation is a functor for for_each_index().
#pragma once

#include "kernels/simt/config.h"
#if OMNICONV_CUDA && !defined(__CUDACC__)
#error "kernels/simt/simt.h belongs into .cu files: in a CUDA build only nvcc can compile it"
#endif

#if OMNICONV_CUDA
#include "kernels/simt/device_cuda.h"
#else
#include "kernels/simt/device_cpu.h"
#endif
#include "kernels/simt/for_each.h"
#include "kernels/simt/launch.h"
#include "kernels/simt/vector.h"
