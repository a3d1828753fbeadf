#include "kernels/od_conv.h"

#include "kernels/conv_tile.h"
#include "kernels/dynamic.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {

namespace {

using namespace omniconv::simt;

constexpr int flush_kernels = 4;  // kernels whose gradients one block keeps in registers

template <class T, class Tiling>
OMNI_KERNEL void forward_kernel(Geometry geometry, Dynamic<T> dynamic, std::int64_t group_out, std::int64_t out_pixels,
                                std::int64_t in_pixels, const T* input, T* output) {
  using Value = compute_type_t<T>;
  SharedMemory shared;
  Value* shared_a = shared.array<Value>(tile_inner * Tiling::rows);
  Value* shared_b = shared.array<Value>(tile_inner * Tiling::columns);
  const std::int64_t n = block_index().z;
  const std::int64_t first_pixel = std::int64_t{block_index().x} * Tiling::rows;
  const GroupTile tile = group_tile(block_index().y, group_out, Tiling::columns);
  const std::int64_t first_in = tile.group * dynamic.group_in;
  const std::int64_t first_out = tile.group * group_out;

  Value sums[thread_tile][thread_tile] = {};
  Tiling::multiply(
      shared_a, shared_b, dynamic.taps * dynamic.group_in,
      [&](std::int64_t k, int row) -> Value {
        const std::int64_t p = first_pixel + row;
        const std::int64_t pixel = p < out_pixels ? geometry.input_pixel(p, k / dynamic.group_in) : -1;
        if (pixel < 0) return 0;
        const std::int64_t i = first_in + k % dynamic.group_in;
        return input[(n * in_pixels + pixel) * dynamic.in_channels + i] * dynamic.channel(n, i);
      },
      [&](std::int64_t k, int column) -> Value {
        const std::int64_t o = tile.first + column;
        if (o >= group_out) return 0;
        return dynamic.aggregated(n, first_out + o, k / dynamic.group_in, k % dynamic.group_in);
      },
      sums);

  for (int r = 0; r < thread_tile; ++r) {
    const std::int64_t p = first_pixel + Tiling::first_row() + r;
    if (p >= out_pixels) break;
    for (int c = 0; c < thread_tile; ++c) {
      const std::int64_t o = tile.first + Tiling::first_column() + c;
      if (o >= group_out) break;
      output[(n * out_pixels + p) * dynamic.out_channels + first_out + o] =
          static_cast<T>(sums[r][c] * dynamic.filter(n, first_out + o));
    }
  }
}

template <class T, class Tiling>
OMNI_KERNEL void data_gradient_kernel(Geometry geometry, Dynamic<T> dynamic, std::int64_t group_out,
                                      std::int64_t out_pixels, std::int64_t in_pixels, const T* d_output, T* d_input,
                                      bool accumulate) {
  using Value = compute_type_t<T>;
  SharedMemory shared;
  Value* shared_a = shared.array<Value>(tile_inner * Tiling::rows);
  Value* shared_b = shared.array<Value>(tile_inner * Tiling::columns);
  const std::int64_t n = block_index().z;
  const std::int64_t first_pixel = std::int64_t{block_index().x} * Tiling::rows;
  const GroupTile tile = group_tile(block_index().y, dynamic.group_in, Tiling::columns);
  const std::int64_t first_in = tile.group * dynamic.group_in;
  const std::int64_t first_out = tile.group * group_out;

  Value sums[thread_tile][thread_tile] = {};
  Tiling::multiply(
      shared_a, shared_b, dynamic.taps * group_out,
      [&](std::int64_t k, int row) -> Value {
        const std::int64_t p = first_pixel + row;
        const std::int64_t pixel = p < in_pixels ? geometry.output_pixel(p, k / group_out) : -1;
        if (pixel < 0) return 0;
        const std::int64_t o = first_out + k % group_out;
        return d_output[(n * out_pixels + pixel) * dynamic.out_channels + o] * dynamic.filter(n, o);
      },
      [&](std::int64_t k, int column) -> Value {
        const std::int64_t i = tile.first + column;
        if (i >= dynamic.group_in) return 0;
        return dynamic.aggregated(n, first_out + k % group_out, k / group_out, i);
      },
      sums);

  for (int r = 0; r < thread_tile; ++r) {
    const std::int64_t p = first_pixel + Tiling::first_row() + r;
    if (p >= in_pixels) break;
    for (int c = 0; c < thread_tile; ++c) {
      const std::int64_t i = tile.first + Tiling::first_column() + c;
      if (i >= dynamic.group_in) break;
      T& target = d_input[(n * in_pixels + p) * dynamic.in_channels + first_in + i];
      const Value value = sums[r][c] * dynamic.channel(n, first_in + i);
      target = static_cast<T>(accumulate ? target + value : value);
    }
  }
}

// A block owns a tile of one tap of up to four kernels' gradients and walks over the samples: each sample's D stays in
// registers and is folded into the gradients and into the tile's share of Q.
template <class T, class Tiling>
OMNI_KERNEL void weight_gradient_kernel(Geometry geometry, Dynamic<T> dynamic, std::int64_t samples,
                                        std::int64_t group_out, std::int64_t out_pixels, std::int64_t in_pixels,
                                        const T* input, const T* d_output, compute_type_t<T>* d_weight,
                                        bool accumulate, compute_type_t<T>* partials) {
  using Value = compute_type_t<T>;
  SharedMemory shared;
  Value* shared_a = shared.array<Value>(tile_inner * Tiling::rows);
  Value* shared_b = shared.array<Value>(tile_inner * Tiling::columns);
  const GroupTile in_tile = group_tile(block_index().x, dynamic.group_in, Tiling::columns);
  const std::int64_t out_tiles = (group_out + Tiling::rows - 1) / Tiling::rows;
  const std::int64_t first_o = std::int64_t{block_index().y} % out_tiles * Tiling::rows;
  const std::int64_t t = std::int64_t{block_index().y} / out_tiles;
  const std::int64_t first_k = std::int64_t{block_index().z} * flush_kernels;
  const std::int64_t kernels =
      dynamic.attention.kernels - first_k < flush_kernels ? dynamic.attention.kernels - first_k : flush_kernels;
  const std::int64_t first_in = in_tile.group * dynamic.group_in;
  const std::int64_t first_out = in_tile.group * group_out;
  // One partial of Q per tile of a tap: tiles over groups and input channels, times tiles over output channels.
  const std::int64_t tile_index = std::int64_t{block_index().x} * out_tiles + std::int64_t{block_index().y} % out_tiles;
  const std::int64_t tile_count = std::int64_t{grid_extent().x} * out_tiles;

  Value gradients[flush_kernels][thread_tile][thread_tile] = {};
  for (std::int64_t n = 0; n < samples; ++n) {
    Value sums[thread_tile][thread_tile] = {};
    Tiling::multiply(
        shared_a, shared_b, out_pixels,
        [&](std::int64_t p, int row) -> Value {
          const std::int64_t o = first_o + row;
          if (o >= group_out) return 0;
          return d_output[(n * out_pixels + p) * dynamic.out_channels + first_out + o] *
                 dynamic.filter(n, first_out + o);
        },
        [&](std::int64_t p, int column) -> Value {
          const std::int64_t i = in_tile.first + column;
          const std::int64_t pixel = i < dynamic.group_in ? geometry.input_pixel(p, t) : -1;
          if (pixel < 0) return 0;
          return input[(n * in_pixels + pixel) * dynamic.in_channels + first_in + i] *
                 dynamic.channel(n, first_in + i);
        },
        sums);
    for (std::int64_t k = 0; k < kernels; ++k) {
      const Value share = dynamic.share(n, first_k + k, t);
      Value dot = 0;
      for (int r = 0; r < thread_tile; ++r) {
        const std::int64_t o = first_o + Tiling::first_row() + r;
        for (int c = 0; c < thread_tile; ++c) {
          const std::int64_t i = in_tile.first + Tiling::first_column() + c;
          gradients[k][r][c] += share * sums[r][c];
          if (partials && o < group_out && i < dynamic.group_in)
            dot += sums[r][c] * dynamic.weight[dynamic.weight_index(first_k + k, first_out + o, t, i)];
        }
      }
      if (partials) {
        const Value total = block_sum(dot);
        if (thread_rank() == 0)
          partials[((n * dynamic.attention.kernels + first_k + k) * dynamic.taps + t) * tile_count + tile_index] =
              share * total;
      }
    }
  }
  if (d_weight == nullptr) return;
  for (std::int64_t k = 0; k < kernels; ++k) {
    for (int r = 0; r < thread_tile; ++r) {
      const std::int64_t o = first_o + Tiling::first_row() + r;
      if (o >= group_out) break;
      for (int c = 0; c < thread_tile; ++c) {
        const std::int64_t i = in_tile.first + Tiling::first_column() + c;
        if (i >= dynamic.group_in) break;
        Value& target = d_weight[dynamic.weight_index(first_k + k, first_out + o, t, i)];
        target = accumulate ? target + gradients[k][r][c] : gradients[k][r][c];
      }
    }
  }
}

}  // namespace

template <class T>
void od_conv_forward(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                     const T* weight, T* output, Stream stream) {
  with_tile(shape.group_out(), [&](auto tile) {
    using Tiling = decltype(tile);
    const unsigned columns = blocks(shape.group_out(), Tiling::columns) * static_cast<unsigned>(shape.params.groups);
    launch(forward_kernel<T, Tiling>,
           {blocks(shape.out_pixels(), Tiling::rows), columns, static_cast<unsigned>(shape.samples)},
           {Tiling::threads}, Tiling::template shared_bytes<compute_type_t<T>>(), stream, geometry_of(shape),
           dynamic_of(shape, attention, weight), shape.group_out(), shape.out_pixels(), shape.in_pixels(), input,
           output);
  });
}

template <class T>
void od_conv_data_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention,
                           const T* d_output, const T* weight, T* d_input, bool accumulate, Stream stream) {
  with_tile(shape.group_in(), [&](auto tile) {
    using Tiling = decltype(tile);
    const unsigned columns = blocks(shape.group_in(), Tiling::columns) * static_cast<unsigned>(shape.params.groups);
    launch(data_gradient_kernel<T, Tiling>,
           {blocks(shape.in_pixels(), Tiling::rows), columns, static_cast<unsigned>(shape.samples)}, {Tiling::threads},
           Tiling::template shared_bytes<compute_type_t<T>>(), stream, geometry_of(shape),
           dynamic_of(shape, attention, weight), shape.group_out(), shape.out_pixels(), shape.in_pixels(), d_output,
           d_input, accumulate);
  });
}

namespace {

/// Grid of the weight gradient: tiles over (groups, input channels), over (taps, output channels), over kernels.
template <class Tiling>
Dim3 weight_gradient_grid(const ConvShape& shape, std::int64_t kernels) {
  return {blocks(shape.group_in(), Tiling::columns) * static_cast<unsigned>(shape.params.groups),
          blocks(shape.group_out(), Tiling::rows) * static_cast<unsigned>(shape.taps()),
          blocks(kernels, flush_kernels)};
}

template <class Tiling>
std::int64_t weight_gradient_tiles(const ConvShape& shape) {
  return std::int64_t{blocks(shape.group_in(), Tiling::columns)} * shape.params.groups *
         blocks(shape.group_out(), Tiling::rows);
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
    launch(weight_gradient_kernel<T, Tiling>, weight_gradient_grid<Tiling>(shape, attention.kernels),
           {Tiling::threads}, Tiling::template shared_bytes<compute_type_t<T>>(), stream, geometry_of(shape),
           dynamic_of(shape, attention, weight), shape.samples, shape.group_out(), shape.out_pixels(),
           shape.in_pixels(), input, d_output, d_weight, accumulate, partials);
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
