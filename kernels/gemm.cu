#include "kernels/gemm.h"

#include "kernels/columns.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {

namespace {

using namespace omniconv::simt;

constexpr int thread_tile = 4;   // rows and columns of C held by one thread
constexpr int tile_inner = 32;   // depth of the tiles in shared memory: deep, as barriers are dear on the CPU

template <class T, int Rows, int Columns>
OMNI_KERNEL void gemm_kernel(GemmShape shape, const T* a, const T* b, T* c, bool accumulate) {
  constexpr int threads = Rows / thread_tile * (Columns / thread_tile);
  SharedMemory shared;
  T* shared_a = shared.array<T>(tile_inner * Rows);
  T* shared_b = shared.array<T>(tile_inner * Columns);
  const std::int64_t product = block_index().z;
  a += product * shape.stride_a;
  b += product * shape.stride_b;
  c += product * shape.stride_c;
  const std::int64_t first_row = std::int64_t{block_index().y} * Rows;
  const std::int64_t first_column = std::int64_t{block_index().x} * Columns;
  const int row = thread_rank() / (Columns / thread_tile) * thread_tile;
  const int column = thread_rank() % (Columns / thread_tile) * thread_tile;

  T sums[thread_tile][thread_tile] = {};
  for (std::int64_t k0 = 0; k0 < shape.inner; k0 += tile_inner) {
    const int depth = static_cast<int>(shape.inner - k0 < tile_inner ? shape.inner - k0 : tile_inner);
    // Neighbouring threads read neighbouring elements of whichever axis is contiguous.
    for (int e = thread_rank(); e < tile_inner * Rows; e += threads) {
      const int k = shape.transpose_a ? e / Rows : e % tile_inner;
      const int r = shape.transpose_a ? e % Rows : e / tile_inner;
      const std::int64_t i = first_row + r;
      const bool inside = k < depth && i < shape.rows;
      shared_a[k * Rows + r] =
          inside ? a[shape.transpose_a ? (k0 + k) * shape.rows + i : i * shape.inner + k0 + k] : T(0);
    }
    for (int e = thread_rank(); e < tile_inner * Columns; e += threads) {
      const int k = shape.transpose_b ? e % tile_inner : e / Columns;
      const int r = shape.transpose_b ? e / tile_inner : e % Columns;
      const std::int64_t j = first_column + r;
      const bool inside = k < depth && j < shape.columns;
      shared_b[k * Columns + r] =
          inside ? b[shape.transpose_b ? j * shape.inner + k0 + k : (k0 + k) * shape.columns + j] : T(0);
    }
    barrier();
    for (int k = 0; k < depth; ++k) {
      for (int r = 0; r < thread_tile; ++r) {
        const T left = shared_a[k * Rows + row + r];
        for (int j = 0; j < thread_tile; ++j) sums[r][j] += left * shared_b[k * Columns + column + j];
      }
    }
    barrier();
  }
  for (int r = 0; r < thread_tile && first_row + row + r < shape.rows; ++r) {
    for (int j = 0; j < thread_tile && first_column + column + j < shape.columns; ++j)
      write(c[(first_row + row + r) * shape.columns + first_column + column + j], sums[r][j], accumulate);
  }
}

template <class T, int Rows, int Columns>
void launch_gemm(const GemmShape& shape, const T* a, const T* b, T* c, bool accumulate, Stream stream) {
  const Dim3 grid{static_cast<unsigned>((shape.columns + Columns - 1) / Columns),
                  static_cast<unsigned>((shape.rows + Rows - 1) / Rows), static_cast<unsigned>(shape.batch)};
  const std::size_t shared_bytes =
      SharedSize{}.array<T>(tile_inner * Rows).template array<T>(tile_inner * Columns).bytes();
  launch(gemm_kernel<T, Rows, Columns>, grid, {Rows / thread_tile * (Columns / thread_tile)}, shared_bytes, stream,
         shape, a, b, c, accumulate);
}

/// sums[c] (+)= Σ_r input[r, c].
template <class T, int W>
OMNI_KERNEL void column_sums_kernel(ColumnCut cut, const T* input, T* sums, bool accumulate) {
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  const auto total = combine_rows(sum_rows<1, T, W>(place, [&](std::int64_t row, Lanes<T, W>* sum) {
    sum[0] += Lanes<T, W>::load(input + row * cut.columns + place.column);
  }));
  if (!place.is_first) return;
  for (int i = 0; i < W; ++i) write(sums[place.column + i], static_cast<T>(total.sum[0][i]), accumulate);
}

}  // namespace

template <class T>
void gemm(const GemmShape& shape, const T* a, const T* b, T* c, bool accumulate, Stream stream) {
  constexpr std::int64_t narrow = 32;
  if (shape.columns <= narrow)
    launch_gemm<T, 64, 16>(shape, a, b, c, accumulate, stream);
  else
    launch_gemm<T, 32, 64>(shape, a, b, c, accumulate, stream);
}

template <class T>
void add_bias(T* output, const T* bias, std::int64_t rows, std::int64_t columns, Stream stream) {
  for_each_element(rows, columns, stream, [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t column) {
    output[row * columns + column] += bias[column];
  });
}

template <class T>
void column_sums(const T* input, T* sums, std::int64_t rows, std::int64_t columns, bool accumulate, Stream stream) {
  with_column_width<T>(columns, {input}, [&](auto width) {
    launch_on_columns<width, ColumnSums<1, width>>(column_sums_kernel<T, width>, whole_columns(1, rows, columns),
                                                   stream, input, sums, accumulate);
  });
}

#define OMNICONV_INSTANTIATE(T)                                                               \
  template void gemm(const GemmShape&, const T*, const T*, T*, bool, Stream);                 \
  template void add_bias(T*, const T*, std::int64_t, std::int64_t, Stream);                   \
  template void column_sums(const T*, T*, std::int64_t, std::int64_t, bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
