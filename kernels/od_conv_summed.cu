#include "kernels/od_conv_summed.h"

#include "kernels/conv_tile.h"
#include "kernels/dynamic.h"

namespace omniconv::kernels {

namespace {

using namespace omniconv::simt;

/// A block's rows: one pixel of the samples from `first_sample` on.
struct PixelTile {
  std::int64_t pixel, first_sample, samples;

  OMNI_DEVICE static PixelTile of_this_block(std::int64_t samples, int rows) {
    const std::int64_t tiles = (samples + rows - 1) / rows;
    return {block_index().x / tiles, block_index().x % tiles * rows, samples};
  }
  /// The sample of a row, or -1.
  OMNI_DEVICE std::int64_t sample(int row) const { return first_sample + row < samples ? first_sample + row : -1; }
};

template <class T, class Tiling>
OMNI_KERNEL void summed_forward_kernel(Geometry geometry, Dynamic<T> dynamic, std::int64_t samples,
                                       std::int64_t group_out, std::int64_t out_pixels, std::int64_t in_pixels,
                                       const T* input, T* output) {
  SharedMemory shared;
  T* shared_a = shared.array<T>(tile_inner * Tiling::rows);
  T* shared_b = shared.array<T>(tile_inner * Tiling::columns);
  const PixelTile rows = PixelTile::of_this_block(samples, Tiling::rows);
  const GroupTile tile = group_tile(block_index().y, group_out, Tiling::columns);
  const std::int64_t first_in = tile.group * dynamic.group_in;
  const std::int64_t first_out = tile.group * group_out;

  T sums[thread_tile][thread_tile] = {};
  for (std::int64_t t = 0; t < dynamic.taps; ++t) {
    const std::int64_t pixel = geometry.input_pixel(rows.pixel, t);
    if (pixel < 0) continue;
    Tiling::multiply(
        shared_a, shared_b, dynamic.attention.kernels * dynamic.group_in,
        [&](std::int64_t depth, int row) -> T {
          const std::int64_t n = rows.sample(row);
          if (n < 0) return 0;
          const std::int64_t i = first_in + depth % dynamic.group_in;
          return input[(n * in_pixels + pixel) * dynamic.in_channels + i] * dynamic.channel(n, i) *
                 dynamic.share(n, depth / dynamic.group_in, t);
        },
        [&](std::int64_t depth, int column) -> T {
          const std::int64_t o = tile.first + column;
          if (o >= group_out) return 0;
          return dynamic
              .weight[dynamic.weight_index(depth / dynamic.group_in, first_out + o, t, depth % dynamic.group_in)];
        },
        sums);
  }
  for (int r = 0; r < thread_tile; ++r) {
    const std::int64_t n = rows.sample(Tiling::first_row() + r);
    if (n < 0) break;
    for (int c = 0; c < thread_tile; ++c) {
      const std::int64_t o = tile.first + Tiling::first_column() + c;
      if (o >= group_out) break;
      output[(n * out_pixels + rows.pixel) * dynamic.out_channels + first_out + o] =
          sums[r][c] * dynamic.filter(n, first_out + o);
    }
  }
}

// Z_kt stays a tile of its own until it has given its share of Q; then it is added up, scaled by q.
template <class T, class Tiling>
OMNI_KERNEL void summed_data_gradient_kernel(Geometry geometry, Dynamic<T> dynamic, std::int64_t samples,
                                             std::int64_t group_out, std::int64_t out_pixels, std::int64_t in_pixels,
                                             const T* input, const T* d_output, T* d_input, bool accumulate,
                                             T* partials) {
  SharedMemory shared;
  T* shared_a = shared.array<T>(tile_inner * Tiling::rows);
  T* shared_b = shared.array<T>(tile_inner * Tiling::columns);
  constexpr int threads_of_row = Tiling::columns / thread_tile;
  T* shared_dots = shared.array<T>(Tiling::rows * threads_of_row);
  const PixelTile rows = PixelTile::of_this_block(samples, Tiling::rows);
  const GroupTile tile = group_tile(block_index().y, dynamic.group_in, Tiling::columns);
  const std::int64_t first_in = tile.group * dynamic.group_in;
  const std::int64_t first_out = tile.group * group_out;
  const int first_row = Tiling::first_row(), first_column = Tiling::first_column();
  // One partial of Q per pixel and column tile.
  const std::int64_t part = rows.pixel * grid_extent().y + block_index().y;
  const std::int64_t parts = in_pixels * grid_extent().y;

  T sums[thread_tile][thread_tile] = {};
  for (std::int64_t t = 0; t < dynamic.taps; ++t) {
    const std::int64_t pixel = geometry.output_pixel(rows.pixel, t);
    if (pixel < 0 && !partials) continue;
    for (std::int64_t k = 0; k < dynamic.attention.kernels; ++k) {
      T products[thread_tile][thread_tile] = {};
      if (pixel >= 0)
        Tiling::multiply(
            shared_a, shared_b, group_out,
            [&](std::int64_t o, int row) -> T {
              const std::int64_t n = rows.sample(row);
              if (n < 0) return 0;
              return d_output[(n * out_pixels + pixel) * dynamic.out_channels + first_out + o] *
                     dynamic.filter(n, first_out + o);
            },
            [&](std::int64_t o, int column) -> T {
              const std::int64_t i = tile.first + column;
              if (i >= dynamic.group_in) return 0;
              return dynamic.weight[dynamic.weight_index(k, first_out + o, t, i)];
            },
            products);
      for (int r = 0; r < thread_tile; ++r) {
        const std::int64_t n = rows.sample(first_row + r);
        const T share = n < 0 ? T(0) : dynamic.share(n, k, t);
        T dot = 0;
        for (int c = 0; c < thread_tile; ++c) {
          const std::int64_t i = tile.first + first_column + c;
          sums[r][c] += share * products[r][c];
          if (partials && n >= 0 && i < dynamic.group_in)
            dot += products[r][c] * dynamic.channel(n, first_in + i) *
                   input[(n * in_pixels + rows.pixel) * dynamic.in_channels + first_in + i];
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
  for (int r = 0; r < thread_tile; ++r) {
    const std::int64_t n = rows.sample(first_row + r);
    if (n < 0) break;
    for (int c = 0; c < thread_tile; ++c) {
      const std::int64_t i = tile.first + first_column + c;
      if (i >= dynamic.group_in) break;
      T& target = d_input[(n * in_pixels + rows.pixel) * dynamic.in_channels + first_in + i];
      const T value = sums[r][c] * dynamic.channel(n, first_in + i);
      target = accumulate ? target + value : value;
    }
  }
}

// A block owns a tile of one kernel's gradient at one tap; the sum runs over the pixels that meet there, and samples.
template <class T, class Tiling>
OMNI_KERNEL void summed_weight_gradient_kernel(Geometry geometry, Dynamic<T> dynamic, std::int64_t samples,
                                               std::int64_t group_out, std::int64_t out_pixels, std::int64_t in_pixels,
                                               const T* input, const T* d_output, T* d_weight, bool accumulate) {
  SharedMemory shared;
  T* shared_a = shared.array<T>(tile_inner * Tiling::rows);
  T* shared_b = shared.array<T>(tile_inner * Tiling::columns);
  const GroupTile in_tile = group_tile(block_index().x, dynamic.group_in, Tiling::columns);
  const std::int64_t out_tiles = (group_out + Tiling::rows - 1) / Tiling::rows;
  const std::int64_t first_o = std::int64_t{block_index().y} % out_tiles * Tiling::rows;
  const std::int64_t t = std::int64_t{block_index().y} / out_tiles;
  const std::int64_t k = block_index().z;
  const std::int64_t first_in = in_tile.group * dynamic.group_in;
  const std::int64_t first_out = in_tile.group * group_out;

  T sums[thread_tile][thread_tile] = {};
  for (std::int64_t p = 0; p < out_pixels; ++p) {
    const std::int64_t pixel = geometry.input_pixel(p, t);
    if (pixel < 0) continue;
    Tiling::multiply(
        shared_a, shared_b, samples,
        [&](std::int64_t n, int row) -> T {
          const std::int64_t o = first_o + row;
          if (o >= group_out) return 0;
          return d_output[(n * out_pixels + p) * dynamic.out_channels + first_out + o] *
                 dynamic.filter(n, first_out + o) * dynamic.share(n, k, t);
        },
        [&](std::int64_t n, int column) -> T {
          const std::int64_t i = in_tile.first + column;
          if (i >= dynamic.group_in) return 0;
          return input[(n * in_pixels + pixel) * dynamic.in_channels + first_in + i] * dynamic.channel(n, first_in + i);
        },
        sums);
  }
  for (int r = 0; r < thread_tile; ++r) {
    const std::int64_t o = first_o + Tiling::first_row() + r;
    if (o >= group_out) break;
    for (int c = 0; c < thread_tile; ++c) {
      const std::int64_t i = in_tile.first + Tiling::first_column() + c;
      if (i >= dynamic.group_in) break;
      T& target = d_weight[dynamic.weight_index(k, first_out + o, t, i)];
      target = accumulate ? target + sums[r][c] : sums[r][c];
    }
  }
}

/// Grid of the products over pixels: (pixels, sample tiles) by (groups, column tiles).
template <class Tiling>
Dim3 pixel_grid(const ConvShape& shape, std::int64_t pixels, std::int64_t group_columns) {
  return {static_cast<unsigned>(pixels * blocks(shape.samples, Tiling::rows)),
          blocks(group_columns, Tiling::columns) * static_cast<unsigned>(shape.params.groups)};
}

template <class Tiling>
std::int64_t partial_count(const ConvShape& shape) {
  return shape.in_pixels() * pixel_grid<Tiling>(shape, 1, shape.group_in()).y;
}

}  // namespace

template <class T>
void od_conv_summed_forward(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                            const T* weight, T* output, Stream stream) {
  with_tile(shape.group_out(), [&](auto tile) {
    using Tiling = decltype(tile);
    launch(summed_forward_kernel<T, Tiling>, pixel_grid<Tiling>(shape, shape.out_pixels(), shape.group_out()),
           {Tiling::threads}, Tiling::template shared_bytes<T>(), stream, geometry_of(shape),
           dynamic_of(shape, attention, weight), shape.samples, shape.group_out(), shape.out_pixels(),
           shape.in_pixels(), input, output);
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
    const std::size_t shared_bytes = SharedSize{}
                                         .array<T>(tile_inner * Tiling::rows)
                                         .template array<T>(tile_inner * Tiling::columns)
                                         .template array<T>(Tiling::rows * Tiling::columns / thread_tile)
                                         .bytes();
    launch(summed_data_gradient_kernel<T, Tiling>, pixel_grid<Tiling>(shape, shape.in_pixels(), shape.group_in()),
           {Tiling::threads}, shared_bytes, stream, geometry_of(shape), dynamic_of(shape, attention, weight),
           shape.samples, shape.group_out(), shape.out_pixels(), shape.in_pixels(), input, d_output, d_input,
           accumulate, partials);
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
    const Dim3 grid{blocks(shape.group_in(), Tiling::columns) * static_cast<unsigned>(shape.params.groups),
                    blocks(shape.group_out(), Tiling::rows) * static_cast<unsigned>(shape.taps()),
                    static_cast<unsigned>(attention.kernels)};
    launch(summed_weight_gradient_kernel<T, Tiling>, grid, {Tiling::threads}, Tiling::template shared_bytes<T>(),
           stream, geometry_of(shape), dynamic_of<T>(shape, attention, nullptr), shape.samples, shape.group_out(),
           shape.out_pixels(), shape.in_pixels(), input, d_output, d_weight, accumulate);
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
