// Element-wise work: a functor over an index range, each index by itself.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/simt/config.h"
#include "kernels/simt/stream.h"

#if OMNICONV_CUDA
#include "kernels/simt/launch.h"
#else
#include <omp.h>

#include "kernels/simt/first_failure.h"
#include "kernels/simt/recording.h"
#endif

namespace omniconv::simt {

namespace detail {

#if OMNICONV_CUDA

/// Blocks that fill the current device a few times over.
unsigned blocks_to_fill_device();

inline constexpr unsigned for_each_threads = 256;

template <class Functor>
__global__ void for_each_index_kernel(std::int64_t n, Functor functor) {
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) functor(i);
}

template <class Functor>
__global__ void for_each_element_kernel(std::int64_t rows, std::int64_t columns, Functor functor) {
  // The columns of a row are neighbours: the threads of a warp run along x.
  const std::int64_t row_stride = std::int64_t{gridDim.y} * blockDim.y;
  const std::int64_t column_stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t row = std::int64_t{blockIdx.y} * blockDim.y + threadIdx.y; row < rows; row += row_stride)
    for (std::int64_t c = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; c < columns; c += column_stride)
      functor(row, c);
}

#else

/// Elements below which opening a parallel region costs more than it gains.
inline constexpr std::int64_t parallel_elements = 32 * 1024;

/// Calls `work(begin, end)` for parts of 0..n that together cover it, on as many OS threads as are worth it.
template <class Work>
void for_each_part(std::int64_t n, const Work& work) {
  if (n < parallel_elements || omp_in_parallel()) {
    if (n > 0) work(std::int64_t{0}, n);
    return;
  }
  FirstFailure failure;
#pragma omp parallel
  {
    const std::int64_t parts = omp_get_num_threads();
    const std::int64_t part = omp_get_thread_num();
    // Parts start at multiples of a cache line of bytes, so that no two OS threads write to the same line.
    const std::int64_t size = ((n + parts - 1) / parts + 63) / 64 * 64;
    const std::int64_t begin = std::min(n, part * size);
    const std::int64_t end = std::min(n, begin + size);
    try {
      if (begin < end) work(begin, end);
    } catch (...) {
      failure.record(begin);
    }
  }
  failure.rethrow();
}

#endif

}  // namespace detail

/// Calls `functor(i)` for i in 0..n-1, in any order and several at once: no call may depend on another. Take
/// the functor's captures by value. On the CPU a loop over i that the compiler vectorises.
template <class Functor>
void for_each_index(std::int64_t n, Stream stream, Functor functor) {
#if OMNICONV_CUDA
  if (n <= 0) return;
  const std::int64_t blocks = (n + detail::for_each_threads - 1) / detail::for_each_threads;
  const auto grid = static_cast<unsigned>(std::min<std::int64_t>(blocks, detail::blocks_to_fill_device()));
  launch(detail::for_each_index_kernel<Functor>, {grid}, {detail::for_each_threads}, 0, stream, n, functor);
#else
  if (Recording* const recording = Recording::in_progress())
    return recording->add([=] { for_each_index(n, stream, functor); });
  detail::for_each_part(n, [&](std::int64_t begin, std::int64_t end) {
    const Functor local = functor;  // a copy whose address nobody knows, so that its captures stay in registers
#pragma GCC ivdep
    for (std::int64_t i = begin; i < end; ++i) local(i);
  });
#endif
}

/// Calls `functor(row, column)` for every element of a matrix, under the rules of for_each_index(); neighbouring
/// columns are done together.
template <class Functor>
void for_each_element(std::int64_t rows, std::int64_t columns, Stream stream, Functor functor) {
  if (rows <= 0 || columns <= 0) return;
#if OMNICONV_CUDA
  unsigned threads_x = 1;
  while (threads_x < columns && threads_x < detail::for_each_threads) threads_x *= 2;
  const unsigned threads_y = detail::for_each_threads / threads_x;
  const std::int64_t fill = detail::blocks_to_fill_device();
  const auto grid_x = static_cast<unsigned>(std::min((columns + threads_x - 1) / threads_x, fill));
  const auto grid_y = static_cast<unsigned>(
      std::min<std::int64_t>({(rows + threads_y - 1) / threads_y, (fill + grid_x - 1) / grid_x, 65535}));
  launch(detail::for_each_element_kernel<Functor>, {grid_x, grid_y}, {threads_x, threads_y}, 0, stream, rows, columns,
         functor);
#else
  if (Recording* const recording = Recording::in_progress())
    return recording->add([=] { for_each_element(rows, columns, stream, functor); });
  detail::for_each_part(rows * columns, [&, columns](std::int64_t begin, std::int64_t end) {
    const Functor local = functor;
    std::int64_t row = begin / columns;
    std::int64_t column = begin % columns;
    for (std::int64_t left = end - begin; left > 0; ++row, column = 0) {
      const std::int64_t stop = std::min(columns, column + left);
      left -= stop - column;
#pragma GCC ivdep
      for (std::int64_t c = column; c < stop; ++c) local(row, c);
    }
  });
#endif
}

}  // namespace omniconv::simt
