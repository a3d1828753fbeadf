#include "kernels/od_conv_summed.h"

#include "kernels/conv_tile.h"
#include "kernels/dynamic.h"

namespace omniconv::kernels {

namespace {

using namespace omniconv::simt;

/// A block's rows: one pixel of `samples` samples from `first_sample` on.
struct PixelTile {
  std::int64_t pixel, first_sample, samples;

  OMNI_DEVICE static PixelTile of_this_block(std::int64_t samples, int rows) {
    const std::int64_t tiles = (samples + rows - 1) / rows, first = block_index().x % tiles * rows;
    return {block_index().x / tiles, first, samples - first};
  }
  /// The sample of a row, or -1.
  OMNI_DEVICE std::int64_t sample(int row) const { return row < samples ? first_sample + row : -1; }
};

template <class T, class Tiling>
OMNI_KERNEL void summed_forward_kernel(Geometry geometry, Dynamic<T> dynamic, const T* input, T* output) {
  SharedMemory memory;
  const typename Tiling::template Operands<T> shared(memory);
  const PixelTile rows = PixelTile::of_this_block(dynamic.samples, Tiling::rows);
  const auto tile = GroupTile::of<Tiling>(block_index().y, dynamic, dynamic.group_out);

  T sums[thread_tile][thread_tile] = {};
  for (std::int64_t t = 0; t < dynamic.taps; ++t) {
    const std::int64_t pixel = geometry.input_pixel(rows.pixel, t);
    if (pixel < 0) continue;
    Tiling::multiply_elements(
        shared, dynamic.attention.kernels * dynamic.group_in,
        [&](std::int64_t depth, int row) -> T {
          const std::int64_t n = rows.sample(row);
          if (n < 0) return 0;
          return dynamic.scaled_input(input, n, pixel, tile.first_in + depth % dynamic.group_in) *
                 dynamic.share(n, depth / dynamic.group_in, t);
        },
        [&](std::int64_t depth, int column) -> T {
          if (column >= tile.columns) return 0;
          const std::int64_t k = depth / dynamic.group_in, o = tile.first_out + tile.first + column;
          return dynamic.weight[dynamic.weight_index(k, o, t, depth % dynamic.group_in)];
        },
        sums);
  }
  Tiling::for_each_sum(sums, rows.samples, tile.columns, [&](int row, int column, T sum) {
    const std::int64_t n = rows.sample(row), o = tile.first_out + tile.first + column;
    output[dynamic.output_index(n, rows.pixel, o)] = sum * dynamic.filter(n, o);
  });
}

// Z_kt stays a tile of its own until it has given its share of Q; then it is added up, scaled by q.
template <class T, class Tiling>
OMNI_KERNEL void summed_data_gradient_kernel(Geometry geometry, Dynamic<T> dynamic, const T* input, const T* d_output,
                                             T* d_input, bool accumulate, T* partials) {
  SharedMemory memory;
  const typename Tiling::template Operands<T> shared(memory);
  constexpr int threads_of_row = Tiling::columns / thread_tile;
  T* shared_dots = memory.array<T>(Tiling::rows * threads_of_row);
  const PixelTile rows = PixelTile::of_this_block(dynamic.samples, Tiling::rows);
  const auto tile = GroupTile::of<Tiling>(block_index().y, dynamic, dynamic.group_in);
  const int first_row = Tiling::first_row(), first_column = Tiling::first_column();
  // One partial of Q per pixel and column tile.
  const std::int64_t part = rows.pixel * grid_extent().y + block_index().y;
  const std::int64_t parts = dynamic.in_pixels * grid_extent().y;

  T sums[thread_tile][thread_tile] = {};
  for (std::int64_t t = 0; t < dynamic.taps; ++t) {
    const std::int64_t pixel = geometry.output_pixel(rows.pixel, t);
    if (pixel < 0 && !partials) continue;
    for (std::int64_t k = 0; k < dynamic.attention.kernels; ++k) {
      T products[thread_tile][thread_tile] = {};
      if (pixel >= 0)
        Tiling::multiply_elements(
            shared, dynamic.group_out,
            [&](std::int64_t o, int row) -> T {
              const std::int64_t n = rows.sample(row);
              return n >= 0 ? dynamic.scaled_gradient(d_output, n, pixel, tile.first_out + o) : 0;
            },
            [&](std::int64_t o, int column) -> T {
              if (column >= tile.columns) return 0;
              return dynamic.weight[dynamic.weight_index(k, tile.first_out + o, t, tile.first + column)];
            },
            products);
      for (int r = 0; r < thread_tile; ++r) {
        const std::int64_t n = rows.sample(first_row + r);
        const T share = n < 0 ? T(0) : dynamic.share(n, k, t);
        T dot = 0;
        for (int c = 0; c < thread_tile; ++c) {
          sums[r][c] += share * products[r][c];
          const std::int64_t i = tile.first_in + tile.first + first_column + c;
          if (partials && n >= 0 && first_column + c < tile.columns)
            dot += products[r][c] * dynamic.channel(n, i) * input[dynamic.input_index(n, rows.pixel, i)];
        }
        if (partials) shared_dots[(first_row + r) * threads_of_row + first_column / thread_tile] = share * dot;
      }
      if (!partials) continue;
      barrier();
      for (int row = thread_rank(); row < Tiling::rows; row += Tiling::threads) {
        const std::int64_t n = rows.sample(row);
        if (n < 0) continue;
        T total = 0;
        for (int j = 0; j < threads_of_row; ++j) total += shared_dots[row * threads_of_row + j];
        partials[((n * dynamic.attention.kernels + k) * dynamic.taps + t) * parts + part] = total;
      }
      barrier();
    }
  }
  if (!d_input) return;
  Tiling::for_each_sum(sums, rows.samples, tile.columns, [&](int row, int column, T sum) {
    const std::int64_t n = rows.sample(row), i = tile.first_in + tile.first + column;
    write(d_input[dynamic.input_index(n, rows.pixel, i)], sum * dynamic.channel(n, i), accumulate);
  });
}

// A block owns a tile of one kernel's gradient at one tap; the sum runs over the pixels that meet there, and samples.
template <class T, class Tiling>
OMNI_KERNEL void summed_weight_gradient_kernel(Geometry geometry, Dynamic<T> dynamic, const T* input, const T* d_output,
                                               T* d_weight, bool accumulate) {
  SharedMemory memory;
  const typename Tiling::template Operands<T> shared(memory);
  const auto tile = WeightTile<Tiling>::of_this_block(dynamic);
  const std::int64_t k = block_index().z;

  T sums[thread_tile][thread_tile] = {};
  for (std::int64_t p = 0; p < dynamic.out_pixels; ++p) {
    const std::int64_t pixel = geometry.input_pixel(p, tile.tap);
    if (pixel < 0) continue;
    Tiling::multiply_elements(
        shared, dynamic.samples,
        [&](std::int64_t n, int row) -> T {
          if (row >= tile.rows) return 0;
          return dynamic.scaled_gradient(d_output, n, p, tile.out_channel(row)) * dynamic.share(n, k, tile.tap);
        },
        [&](std::int64_t n, int column) -> T {
          return column < tile.group.columns ? dynamic.scaled_input(input, n, pixel, tile.in_channel(column)) : 0;
        },
        sums);
  }
  tile.store(dynamic, k, sums, d_weight, accumulate);
}

/// Grid of the products over pixels: (pixels, sample tiles) by (groups, column tiles).
template <class Tiling>
Dim3 pixel_grid(const ConvShape& shape, std::int64_t pixels, std::int64_t channels) {
  return {static_cast<unsigned>(pixels * blocks(shape.samples, Tiling::rows)), group_tiles<Tiling>(shape, channels)};
}

template <class Tiling>
std::int64_t partial_count(const ConvShape& shape) {
  return shape.in_pixels() * group_tiles<Tiling>(shape, shape.group_in());
}

}  // namespace

template <class T>
void od_conv_summed_forward(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                            const T* weight, T* output, Stream stream) {
  with_tile(shape.group_out(), [&](auto tile) {
    using Tiling = decltype(tile);
    launch(summed_forward_kernel<T, Tiling>, pixel_grid<Tiling>(shape, shape.out_pixels(), shape.group_out()),
           {Tiling::threads}, Tiling::template Operands<T>::size().bytes(), stream, geometry_of(shape),
           dynamic_of(shape, attention, weight), input, output);
  });
}

std::int64_t od_conv_summed_workspace(const ConvShape& shape, std::int64_t kernels) {
  std::int64_t parts = 0;
  with_tile(shape.group_in(), [&](auto tile) { parts = partial_count<decltype(tile)>(shape); });
  return shape.samples * kernels * shape.taps() * parts;
}

template <class T>
void od_conv_summed_data_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                                  const T* d_output, const T* weight, T* d_input, bool accumulate, T* weighted_kst,
                                  T* workspace, Stream stream) {
  with_tile(shape.group_in(), [&](auto tile) {
    using Tiling = decltype(tile);
    T* partials = weighted_kst ? workspace : nullptr;
    const std::size_t shared_bytes =
        Tiling::template Operands<T>::size().template array<T>(Tiling::rows * Tiling::columns / thread_tile).bytes();
    launch(summed_data_gradient_kernel<T, Tiling>, pixel_grid<Tiling>(shape, shape.in_pixels(), shape.group_in()),
           {Tiling::threads}, shared_bytes, stream, geometry_of(shape), dynamic_of(shape, attention, weight), input,
           d_output, d_input, accumulate, partials);
    if (weighted_kst)
      sum_partials(partials, partial_count<Tiling>(shape), weighted_kst,
                   shape.samples * attention.kernels * shape.taps(), stream);
  });
}

template <class T>
void od_conv_summed_weight_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                                    const T* d_output, T* d_weight, bool accumulate, Stream stream) {
  with_tile(shape.group_in(), [&](auto tile) {
    using Tiling = decltype(tile);
    launch(summed_weight_gradient_kernel<T, Tiling>, weight_grid<Tiling>(shape, attention.kernels), {Tiling::threads},
           Tiling::template Operands<T>::size().bytes(), stream, geometry_of(shape),
           dynamic_of<T>(shape, attention, nullptr), input, d_output, d_weight, accumulate);
  });
}

#define OMNICONV_INSTANTIATE(T)                                                                                      \
  template void od_conv_summed_forward(const ConvShape&, const AttentionValues<T>&, const T*, const T*, T*, Stream); \
  template void od_conv_summed_data_gradient(const ConvShape&, const AttentionValues<T>&, const T*, const T*,        \
                                             const T*, T*, bool, T*, T*, Stream);                                    \
  template void od_conv_summed_weight_gradient(const ConvShape&, const AttentionValues<T>&, const T*, const T*, T*,  \
                                               bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
