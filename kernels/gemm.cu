#include "kernels/gemm.h"

#include <algorithm>

#include "kernels/columns.h"
#include "kernels/error.h"

namespace omniconv::kernels {
namespace {

/// How a product is cut up: a block makes a tile of C, a thread of it `thread_rows` rows of one vector of columns.
struct GemmTuning {
  int thread_rows;
  unsigned threads_x, threads_y;  ///< of a block, at most: a small product gets a smaller block
  int depth;                      ///< of the tiles of A and B in shared memory, at most
  int threads_per_line;           ///< that fetch neighbouring elements, at most
};
#if OMNICONV_CUDA
inline constexpr GemmTuning gemm_tuning{
    .thread_rows = 4, .threads_x = 16, .threads_y = 16, .depth = 16, .threads_per_line = 16};
#else
// Few and thick threads over deep tiles, because a barrier costs each of them as much as some hundred products.
inline constexpr GemmTuning gemm_tuning{
    .thread_rows = 8, .threads_x = 4, .threads_y = 8, .depth = 128, .threads_per_line = 1};
#endif

/// Where tiles lie in shared memory: element (k, row) of A's tile at k · a_depth_step + row · a_row_step, as it lies
/// in memory, and element (k, column) of B's at k · b_depth_step + column, so that a thread's columns are a vector.
struct TileLayout {
  int rows, columns, depth;
  int a_depth_step, a_row_step;
  int b_depth_step;
};

/// tile[line · line_step + i · element_step] = source[line · line_size + i], for `lines` lines of `size` elements.
template <class T>
OMNI_DEVICE void fetch_tile(const T* source, std::int64_t line_size, int lines, int size, T* tile, int line_step,
                            int element_step) {
  const int threads = static_cast<int>(simt::block_extent().x * simt::block_extent().y);
  const int together = gemm_tuning.threads_per_line < threads ? gemm_tuning.threads_per_line : threads;
  const int begin = simt::thread_rank() % together;
  for (int line = simt::thread_rank() / together; line < lines; line += threads / together) {
    const T* const from = source + line * line_size;
    T* const to = tile + line * line_step;
    if (element_step == 1) {
      for (int i = begin; i < size; i += together) to[i] = from[i];
    } else {
      for (int i = begin; i < size; i += together) to[i * element_step] = from[i];
    }
  }
}

OMNI_DEVICE int at_most(std::int64_t n, int most) { return n < most ? static_cast<int>(n) : most; }

template <class T, int W>
OMNI_KERNEL void gemm_kernel(GemmShape shape, TileLayout tile, const T* a, const T* b, T* c, bool accumulate) {
  constexpr int R = gemm_tuning.thread_rows;
  simt::SharedMemory shared;
  T* const a_tile = shared.array<T>(static_cast<std::size_t>(tile.rows) * tile.depth);
  T* const b_tile = shared.array<T>(static_cast<std::size_t>(tile.depth) * tile.b_depth_step);

  const std::int64_t column_tiles = (shape.columns + tile.columns - 1) / tile.columns;
  const std::int64_t row_tiles = (shape.rows + tile.rows - 1) / tile.rows;
  const std::int64_t number = simt::block_index().x;
  const std::int64_t product = number / column_tiles / row_tiles;
  const std::int64_t first_row = number / column_tiles % row_tiles * tile.rows;
  const std::int64_t first_column = number % column_tiles * tile.columns;
  a += product * shape.stride_a;
  b += product * shape.stride_b;
  c += product * shape.stride_c;
  // Rows and columns behind the edge of C are not fetched: they only meet results that are not stored.
  const int rows = at_most(shape.rows - first_row, tile.rows);
  const int columns = at_most(shape.columns - first_column, tile.columns);
  const int row = static_cast<int>(simt::thread_index().y) * R;
  const int column = static_cast<int>(simt::thread_index().x) * W;

  Lanes<T, W> sum[R];
  for (int r = 0; r < R; ++r) sum[r] = Lanes<T, W>::all(0);
  for (std::int64_t first = 0; first < shape.inner; first += tile.depth) {
    const int depth = at_most(shape.inner - first, tile.depth);
    if (shape.transpose_a) {
      fetch_tile(a + first * shape.rows + first_row, shape.rows, depth, rows, a_tile, tile.a_depth_step, 1);
    } else {
      fetch_tile(a + first_row * shape.inner + first, shape.inner, rows, depth, a_tile, tile.a_row_step, 1);
    }
    if (shape.transpose_b) {
      fetch_tile(b + first_column * shape.inner + first, shape.inner, columns, depth, b_tile, 1, tile.b_depth_step);
    } else {
      fetch_tile(b + first * shape.columns + first_column, shape.columns, depth, columns, b_tile, tile.b_depth_step,
                 1);
    }
    simt::barrier();
    const T* a_rows = a_tile + row * tile.a_row_step;
    const T* b_columns = b_tile + column;
    for (int k = 0; k < depth; ++k, a_rows += tile.a_depth_step, b_columns += tile.b_depth_step) {
      const auto b_values = Lanes<T, W>::load(b_columns);
      for (int r = 0; r < R; ++r) sum[r] += Lanes<T, W>::all(a_rows[r * tile.a_row_step]) * b_values;
    }
    simt::barrier();
  }

  for (int r = 0; r < R; ++r) {
    if (row + r >= rows) break;
    T* const target = c + (first_row + row + r) * shape.columns + first_column + column;
    if (column + W <= columns) {
      (accumulate ? sum[r] + Lanes<T, W>::load_unaligned(target) : sum[r]).store_unaligned(target);
    } else {
      for (int i = 0; i < W; ++i)
        if (column + i < columns) write(target[i], sum[r][i], accumulate);
    }
  }
}

}  // namespace

template <class T>
void gemm(const GemmShape& shape, const T* a, const T* b, T* c, bool accumulate, Stream stream) {
  expect(shape.batch >= 0 && shape.rows >= 0 && shape.columns >= 0 && shape.inner >= 0, "gemm",
         "expected no negative extent, got batch, rows, columns and inner ",
         std::vector{shape.batch, shape.rows, shape.columns, shape.inner});
  constexpr int W = simt::vector_width<T>;
  constexpr int R = gemm_tuning.thread_rows;
  const unsigned x = power_of_two_from((shape.columns + W - 1) / W, gemm_tuning.threads_x);
  const unsigned y = power_of_two_from((shape.rows + R - 1) / R, gemm_tuning.threads_y);
  TileLayout tile = {};
  tile.rows = static_cast<int>(y) * R;
  tile.columns = static_cast<int>(x) * W;
  tile.depth = static_cast<int>(std::clamp<std::int64_t>(shape.inner, 1, gemm_tuning.depth));
  tile.a_depth_step = shape.transpose_a ? tile.rows : 1;
  tile.a_row_step = shape.transpose_a ? 1 : tile.depth;
  tile.b_depth_step = tile.columns + W;  // the extra vector spreads a transposed fetch over the banks
  const std::int64_t blocks = (shape.columns + tile.columns - 1) / tile.columns *
                              ((shape.rows + tile.rows - 1) / tile.rows) * shape.batch;
  expect(blocks <= 0x7fffffff, "gemm", "expected at most 2147483647 tiles, got ", blocks);
  const std::size_t shared_bytes = simt::SharedSize{}
                                       .array<T>(static_cast<std::size_t>(tile.rows) * tile.depth)
                                       .template array<T>(static_cast<std::size_t>(tile.depth) * tile.b_depth_step)
                                       .bytes();
  simt::launch(gemm_kernel<T, W>, {static_cast<unsigned>(blocks)}, {x, y}, shared_bytes, stream, shape, tile, a, b, c,
               accumulate);
}

template <class T>
void add_bias(T* output, const T* bias, std::int64_t rows, std::int64_t columns, Stream stream) {
  simt::for_each_element(rows, columns, stream, [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t column) {
    output[row * columns + column] += bias[column];
  });
}

template <class T>
void column_sums(const T* input, compute_type_t<T>* sums, std::int64_t rows, std::int64_t columns, bool accumulate,
                 Stream stream) {
  launch_column_sums(1, rows, columns, input, 1.0, sums, accumulate, stream);
}

#define OMNICONV_INSTANTIATE(T)                                               \
  template void gemm(const GemmShape&, const T*, const T*, T*, bool, Stream); \
  template void add_bias(T*, const T*, std::int64_t, std::int64_t, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

#define OMNICONV_INSTANTIATE(T) \
  template void column_sums(const T*, compute_type_t<T>*, std::int64_t, std::int64_t, bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
