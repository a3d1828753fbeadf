#include "kernels/od_conv.h"

#include "kernels/conv_tile.h"
#include "kernels/dynamic.h"

namespace omniconv::kernels {

namespace {

using namespace omniconv::simt;

constexpr int flush_kernels = 4;  // kernels whose gradients one block keeps in registers

template <class T, class Tiling>
OMNI_KERNEL void forward_kernel(Geometry geometry, Dynamic<T> dynamic, const T* input, T* output) {
  using Value = compute_type_t<T>;
  SharedMemory memory;
  const typename Tiling::template Operands<Value> shared(memory);
  const std::int64_t n = block_index().z;
  const std::int64_t first_pixel = std::int64_t{block_index().x} * Tiling::rows;
  const auto tile = GroupTile::of<Tiling>(block_index().y, dynamic, dynamic.group_out);

  Value sums[thread_tile][thread_tile] = {};
  Tiling::multiply(
      shared, dynamic.taps * dynamic.group_in,
      [&](std::int64_t k, int row) -> Value {
        const std::int64_t p = first_pixel + row;
        const std::int64_t pixel = p < dynamic.out_pixels ? geometry.input_pixel(p, k / dynamic.group_in) : -1;
        if (pixel < 0) return 0;
        return dynamic.scaled_input(input, n, pixel, tile.first_in + k % dynamic.group_in);
      },
      [&](std::int64_t k, int column) -> Value {
        if (column >= tile.columns) return 0;
        return dynamic.aggregated(n, tile.first_out + tile.first + column, k / dynamic.group_in, k % dynamic.group_in);
      },
      sums);
  Tiling::for_each_sum(sums, dynamic.out_pixels - first_pixel, tile.columns, [&](int row, int column, Value sum) {
    const std::int64_t o = tile.first_out + tile.first + column;
    output[dynamic.output_index(n, first_pixel + row, o)] = static_cast<T>(sum * dynamic.filter(n, o));
  });
}

template <class T, class Tiling>
OMNI_KERNEL void data_gradient_kernel(Geometry geometry, Dynamic<T> dynamic, const T* d_output, T* d_input,
                                      bool accumulate) {
  using Value = compute_type_t<T>;
  SharedMemory memory;
  const typename Tiling::template Operands<Value> shared(memory);
  const std::int64_t n = block_index().z;
  const std::int64_t first_pixel = std::int64_t{block_index().x} * Tiling::rows;
  const auto tile = GroupTile::of<Tiling>(block_index().y, dynamic, dynamic.group_in);

  Value sums[thread_tile][thread_tile] = {};
  Tiling::multiply(
      shared, dynamic.taps * dynamic.group_out,
      [&](std::int64_t k, int row) -> Value {
        const std::int64_t p = first_pixel + row;
        const std::int64_t pixel = p < dynamic.in_pixels ? geometry.output_pixel(p, k / dynamic.group_out) : -1;
        if (pixel < 0) return 0;
        return dynamic.scaled_gradient(d_output, n, pixel, tile.first_out + k % dynamic.group_out);
      },
      [&](std::int64_t k, int column) -> Value {
        if (column >= tile.columns) return 0;
        return dynamic.aggregated(n, tile.first_out + k % dynamic.group_out, k / dynamic.group_out,
                                  tile.first + column);
      },
      sums);
  Tiling::for_each_sum(sums, dynamic.in_pixels - first_pixel, tile.columns, [&](int row, int column, Value sum) {
    const std::int64_t i = tile.first_in + tile.first + column;
    write(d_input[dynamic.input_index(n, first_pixel + row, i)], sum * dynamic.channel(n, i), accumulate);
  });
}

// A block owns a tile of one tap of up to four kernels' gradients and walks over the samples: each sample's D stays in
// registers and is folded into the gradients and into the tile's share of Q.
template <class T, class Tiling>
OMNI_KERNEL void weight_gradient_kernel(Geometry geometry, Dynamic<T> dynamic, const T* input, const T* d_output,
                                        compute_type_t<T>* d_weight, bool accumulate, compute_type_t<T>* partials) {
  using Value = compute_type_t<T>;
  SharedMemory memory;
  const typename Tiling::template Operands<Value> shared(memory);
  const auto tile = WeightTile<Tiling>::of_this_block(dynamic);
  const std::int64_t first_k = std::int64_t{block_index().z} * flush_kernels;
  const std::int64_t kernels =
      dynamic.attention.kernels - first_k < flush_kernels ? dynamic.attention.kernels - first_k : flush_kernels;

  Value gradients[flush_kernels][thread_tile][thread_tile] = {};
  for (std::int64_t n = 0; n < dynamic.samples; ++n) {
    Value sums[thread_tile][thread_tile] = {};
    Tiling::multiply(
        shared, dynamic.out_pixels,
        [&](std::int64_t p, int row) -> Value {
          return row < tile.rows ? dynamic.scaled_gradient(d_output, n, p, tile.out_channel(row)) : 0;
        },
        [&](std::int64_t p, int column) -> Value {
          const std::int64_t pixel = column < tile.group.columns ? geometry.input_pixel(p, tile.tap) : -1;
          return pixel >= 0 ? dynamic.scaled_input(input, n, pixel, tile.in_channel(column)) : 0;
        },
        sums);
    OMNI_UNROLL for (int k = 0; k < flush_kernels; ++k) {
      if (k >= kernels) continue;
      const Value share = dynamic.share(n, first_k + k, tile.tap);
      Value dot = 0;
      for (int r = 0; r < thread_tile; ++r) {
        const int row = Tiling::first_row() + r;
        for (int c = 0; c < thread_tile; ++c) {
          const int column = Tiling::first_column() + c;
          gradients[k][r][c] += share * sums[r][c];
          if (partials && row < tile.rows && column < tile.group.columns)
            dot += sums[r][c] * dynamic.weight[tile.weight_index(dynamic, first_k + k, row, column)];
        }
      }
      if (partials) {
        const Value total = block_sum(dot);
        if (thread_rank() == 0)
          partials[((n * dynamic.attention.kernels + first_k + k) * dynamic.taps + tile.tap) * tile.count +
                   tile.number] = share * total;
      }
    }
  }
  if (d_weight == nullptr) return;
  OMNI_UNROLL for (int k = 0; k < flush_kernels; ++k) {
    if (k < kernels) tile.store(dynamic, first_k + k, gradients[k], d_weight, accumulate);
  }
}

/// Starts a kernel for the pixels of every sample; a group's `channels` lie along the columns of its tiles.
template <class Tiling, class T, class Kernel, class... Args>
void launch_over_pixels(Kernel kernel, const ConvShape& shape, std::int64_t pixels, std::int64_t channels,
                        Stream stream, const Dynamic<T>& dynamic, Args... args) {
  const Dim3 grid{blocks(pixels, Tiling::rows), group_tiles<Tiling>(shape, channels),
                  static_cast<unsigned>(shape.samples)};
  launch(kernel, grid, {Tiling::threads}, Tiling::template Operands<compute_type_t<T>>::size().bytes(), stream,
         geometry_of(shape), dynamic, args...);
}

}  // namespace

template <class T>
void od_conv_forward(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                     const T* weight, T* output, Stream stream) {
  with_tile(shape.group_out(), [&](auto tile) {
    using Tiling = decltype(tile);
    launch_over_pixels<Tiling>(forward_kernel<T, Tiling>, shape, shape.out_pixels(), shape.group_out(), stream,
                               dynamic_of(shape, attention, weight), input, output);
  });
}

template <class T>
void od_conv_data_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention,
                           const T* d_output, const T* weight, T* d_input, bool accumulate, Stream stream) {
  with_tile(shape.group_in(), [&](auto tile) {
    using Tiling = decltype(tile);
    launch_over_pixels<Tiling>(data_gradient_kernel<T, Tiling>, shape, shape.in_pixels(), shape.group_in(), stream,
                               dynamic_of(shape, attention, weight), d_output, d_input, accumulate);
  });
}

namespace {

template <class Tiling>
std::int64_t weight_gradient_tiles(const ConvShape& shape) {
  return std::int64_t{group_tiles<Tiling>(shape, shape.group_in())} * blocks(shape.group_out(), Tiling::rows);
}

}  // namespace

std::int64_t od_conv_weight_gradient_workspace(const ConvShape& shape, std::int64_t kernels) {
  std::int64_t tiles = 0;
  with_tile(shape.group_in(), [&](auto tile) { tiles = weight_gradient_tiles<decltype(tile)>(shape); });
  return shape.samples * kernels * shape.taps() * tiles;
}

template <class T>
void od_conv_weight_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention,
                             const T* input, const T* d_output, const T* weight, compute_type_t<T>* d_weight,
                             bool accumulate, compute_type_t<T>* weighted_kst, compute_type_t<T>* workspace,
                             Stream stream) {
  with_tile(shape.group_in(), [&](auto tile) {
    using Tiling = decltype(tile);
    compute_type_t<T>* partials = weighted_kst ? workspace : nullptr;
    launch(weight_gradient_kernel<T, Tiling>, weight_grid<Tiling>(shape, blocks(attention.kernels, flush_kernels)),
           {Tiling::threads}, Tiling::template Operands<compute_type_t<T>>::size().bytes(), stream, geometry_of(shape),
           dynamic_of(shape, attention, weight), input, d_output, d_weight, accumulate, partials);
    if (weighted_kst) {
      sum_partials(partials, weight_gradient_tiles<Tiling>(shape), weighted_kst,
                   shape.samples * attention.kernels * shape.taps(), stream);
    }
  });
}

#define OMNICONV_INSTANTIATE(T)                                                                                       \
  template void od_conv_forward(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*, const T*, T*,  \
                                Stream);                                                                              \
  template void od_conv_data_gradient(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*,          \
                                      const T*, T*, bool, Stream);                                                    \
  template void od_conv_weight_gradient(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*,        \
                                        const T*, const T*, compute_type_t<T>*, bool, compute_type_t<T>*,             \
                                        compute_type_t<T>*, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
