// Work on the columns of [groups, rows, columns]: what the norms, the pools and the sums over pixels have in common.
// For .cu files only.
//
// A thread has W neighbouring columns, which it reads in one access, and every block.y-th row of a chunk of rows.
// How rows are cut into chunks depends on the shape alone, never on the number of threads.
#pragma once

#include <algorithm>
#include <climits>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>

#include "kernels/half.h"
#include "kernels/lanes.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {

/// How much work a block gets: the one place where the two devices differ.
struct ColumnTuning {
  int threads;               ///< of a block, of which there are some for each of the rows that it takes at once
  int threads_side_by_side;  ///< at most so many along the columns
  int many_threads;          ///< with so many along the columns a block has all of its own there
  int chunk_elements;        ///< of the columns of a block in a chunk
  int max_chunks;            ///< of a group
};
#if OMNICONV_CUDA
inline constexpr ColumnTuning column_tuning{.threads = 256,
                                            .threads_side_by_side = 32,
                                            .many_threads = 32 * 1024,
                                            .chunk_elements = 8 * 1024,
                                            .max_chunks = 1024};
#else
// One row at a time, so that no thread waits for another; a chunk fits into the L2 cache.
inline constexpr ColumnTuning column_tuning{
    .threads = 1, .threads_side_by_side = 32, .many_threads = INT_MAX, .chunk_elements = 16 * 1024, .max_chunks = 256};
#endif

/// [groups, rows, columns] with the rows of each group in `chunks` chunks.
struct ColumnCut {
  std::int64_t groups, rows, columns;
  std::int64_t chunk_rows, chunks;
};

/// One chunk per group: a block sees all rows of its columns.
inline ColumnCut whole_columns(std::int64_t groups, std::int64_t rows, std::int64_t columns) {
  return {groups, rows, columns, rows, 1};
}

/// Elements of T that a thread takes side by side at most. On the CPU they become one register of what they are
/// computed in.
template <class T>
inline constexpr int widest_columns = OMNICONV_CUDA ? simt::vector_width<T> : simt::vector_width<compute_type_t<T>>;

/// Chunks of about column_tuning.chunk_elements.
template <class T>
ColumnCut cut_columns(std::int64_t groups, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t widest = column_tuning.threads_side_by_side * widest_columns<T>;
  const std::int64_t wanted = column_tuning.chunk_elements / std::clamp(columns, std::int64_t{1}, widest);
  const std::int64_t least = (rows + column_tuning.max_chunks - 1) / column_tuning.max_chunks;
  const std::int64_t chunk_rows = std::max(wanted, least);
  return {groups, rows, columns, chunk_rows, (rows + chunk_rows - 1) / chunk_rows};
}

/// Calls `body(std::integral_constant<int, W>)` with the widest vector that divides the columns and that all these
/// addresses are aligned for.
template <class T, int W = widest_columns<T>, class Body>
void with_column_width(std::int64_t columns, std::initializer_list<const T*> addresses, Body&& body) {
  if constexpr (W == 1) {
    body(std::integral_constant<int, 1>{});
  } else {
    const bool aligned = std::all_of(addresses.begin(), addresses.end(), [](const T* address) {
      return reinterpret_cast<std::uintptr_t>(address) % (W * sizeof(T)) == 0;
    });
    if (aligned && columns % W == 0) {
      body(std::integral_constant<int, W>{});
    } else {
      // Channels of nets in 16 bits are multiples of the widest vector; fewer kernels compile sooner.
      with_column_width<T, is_half<T> ? 1 : W / 2>(columns, addresses, body);
    }
  }
}

/// The least power of two that is at least n, or `most`, itself one.
inline unsigned power_of_two_from(std::int64_t n, unsigned most) {
  unsigned power = 1;
  while (power < n && power < most) power *= 2;
  return power;
}

/// Launches `kernel(cut, arguments...)`, in which ColumnPlace says what a thread has to do. `Shared` is what
/// combine_rows() combines there, if it is called.
template <int W, class Shared = char, class... Parameters>
void launch_on_columns(void (*kernel)(ColumnCut, Parameters...), const ColumnCut& cut, Stream stream,
                       std::type_identity_t<Parameters>... arguments) {
  const std::int64_t vectors = cut.columns / W;
  const unsigned x = power_of_two_from(
      vectors, vectors >= column_tuning.many_threads ? column_tuning.threads : column_tuning.threads_side_by_side);
  const unsigned y = power_of_two_from(std::min(cut.rows, cut.chunk_rows), std::max(1u, column_tuning.threads / x));
  const auto blocks = static_cast<unsigned>((vectors + x - 1) / x * cut.chunks * cut.groups);
  const std::size_t shared_bytes = simt::SharedSize{}.array<Shared>(x * (y / 2)).bytes();
  simt::launch(kernel, {blocks}, {x, y}, shared_bytes, stream, cut, arguments...);
}

/// A thread's share: W columns from `column` on, and the rows `row`, `row + step`, ... before `end`.
struct ColumnPlace {
  std::int64_t column;
  std::int64_t row, end, step;  ///< counted over all groups; no rows where the thread has no columns
  std::int64_t group;
  std::int64_t chunk;  ///< counted over all groups
  bool is_first;       ///< whether the thread has columns and is the first among those that share them

  template <int W>
  OMNI_DEVICE static ColumnPlace of_this_thread(const ColumnCut& cut) {
    const simt::Dim3 thread = simt::thread_index(), block = simt::block_extent();
    const unsigned side_by_side = static_cast<unsigned>((cut.columns / W + block.x - 1) / block.x);
    const unsigned number = simt::block_index().x;
    const unsigned chunk = number / side_by_side;
    const unsigned group = chunk / static_cast<unsigned>(cut.chunks);
    const std::int64_t first = static_cast<std::int64_t>(chunk - group * cut.chunks) * cut.chunk_rows;
    const std::int64_t last = first + cut.chunk_rows < cut.rows ? first + cut.chunk_rows : cut.rows;
    const std::int64_t column = (std::int64_t{number % side_by_side} * block.x + thread.x) * W;
    const bool has_columns = column < cut.columns;
    const std::int64_t group_row = group * cut.rows;
    return {.column = column,
            .row = group_row + first + thread.y,
            .end = group_row + (has_columns ? last : 0),
            .step = block.y,
            .group = group,
            .chunk = chunk,
            .is_first = has_columns && thread.y == 0};
  }
};

/// `target = value`, or `target += value`, as write of half.h.
template <class T, class Value, int W>
OMNI_DEVICE void write(T* target, const Lanes<Value, W>& value, bool accumulate) {
  (accumulate ? Lanes<Value, W>::load(target) + value : value).store(target);
}

/// S sums for each of W columns.
template <int S, int W>
struct ColumnSums {
  Lanes<double, W> sum[S];

  OMNI_DEVICE ColumnSums operator+(const ColumnSums& other) const {
    ColumnSums result;
    for (int s = 0; s < S; ++s) result.sum[s] = sum[s] + other.sum[s];
    return result;
  }
};

/// Rows that are added up in T before they go into a double.
inline constexpr int rows_in_low_precision = 128;

/// The sums over the thread's rows of what `add(row, sums)` adds to the Lanes<T, W> sums[S].
template <int S, class T, int W, class Add>
OMNI_DEVICE ColumnSums<S, W> sum_rows(const ColumnPlace& place, Add add) {
  ColumnSums<S, W> total;
  for (int s = 0; s < S; ++s) total.sum[s] = Lanes<double, W>::all(0);
  for (std::int64_t row = place.row; row < place.end;) {
    const std::int64_t stop = row + rows_in_low_precision * place.step;
    const std::int64_t end = stop < place.end ? stop : place.end;
    Lanes<T, W> sums[S];
    for (int s = 0; s < S; ++s) sums[s] = Lanes<T, W>::all(0);
    for (; row < end; row += place.step) add(row, sums);
    for (int s = 0; s < S; ++s) total.sum[s] += sums[s].template to<double>();
  }
  return total;
}

/// `a + b` over the threads that share columns, in a fixed order; the first of them gets the result.
template <class Value>
OMNI_DEVICE Value combine_rows(const Value& of_this_thread) {
  const simt::Dim3 thread = simt::thread_index(), block = simt::block_extent();
  if (block.y == 1) return of_this_thread;
  // Word by word, so that threads side by side write to different banks.
  constexpr int words = sizeof(Value) / sizeof(double);
  static_assert(sizeof(Value) == words * sizeof(double));
  Value value = of_this_thread;
  double moved[words];
  simt::SharedMemory memory;
  const unsigned places = block.x * (block.y / 2);
  double* const shared = memory.array<double>(places * words);
  for (unsigned half = block.y / 2; half > 0; half /= 2) {
    if (thread.y >= half && thread.y < 2 * half) {
      memcpy(moved, &value, sizeof(value));
      double* const mine = shared + (thread.y - half) * block.x + thread.x;
      OMNI_UNROLL for (int w = 0; w < words; ++w) mine[w * places] = moved[w];
    }
    simt::barrier();
    if (thread.y < half) {
      const double* const other_words = shared + thread.y * block.x + thread.x;
      OMNI_UNROLL for (int w = 0; w < words; ++w) moved[w] = other_words[w * places];
      Value other;
      memcpy(&other, moved, sizeof(other));
      value = value + other;
    }
    simt::barrier();
  }
  return value;
}

/// output[group, column] (+)= factor · Σ_row input[group, row, column].
template <class T, int W>
OMNI_KERNEL void column_sums_kernel(ColumnCut cut, const T* input, double factor, compute_type_t<T>* output,
                                    bool accumulate) {
  using Value = compute_type_t<T>;
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  const auto sums = combine_rows(sum_rows<1, Value, W>(place, [&](std::int64_t row, Lanes<Value, W>* sum) {
    sum[0] += Lanes<Value, W>::load(input + row * cut.columns + place.column);
  }));
  if (!place.is_first) return;
  Value* const target = output + place.group * cut.columns + place.column;
  for (int i = 0; i < W; ++i) write(target[i], static_cast<Value>(factor * sums.sum[0][i]), accumulate);
}
template <class T>
void launch_column_sums(std::int64_t groups, std::int64_t rows, std::int64_t columns, const T* input, double factor,
                        compute_type_t<T>* output, bool accumulate, Stream stream) {
  with_column_width<T>(columns, {input}, [&](auto width) {
    launch_on_columns<width, ColumnSums<1, width>>(column_sums_kernel<T, width>, whole_columns(groups, rows, columns),
                                                   stream, input, factor, output, accumulate);
  });
}

}  // namespace omniconv::kernels
