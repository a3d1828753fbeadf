// What the tensor-core weight gradients of algorithms B and C have in common: how the gradients of all kernels are cut
// into tiles and the samples into parts, and how a block's sums get to memory. For .cu files only.
#pragma once

#include "kernels/conv_shape.h"
#include "kernels/dynamic.h"
#include "kernels/mma_tiles.h"
#include "kernels/simt/tensor_core.h"
#include "kernels/sum_parts.h"

namespace omniconv::kernels::mma {

inline constexpr int tile_kernels = 4;  // kernels whose gradients a block keeps in registers

OMNI_HOST_DEVICE inline int at_most(int limit, int value) {
  return value < limit ? value : limit;
}

/// The gradients [K, O, taps, I] in tiles of TileOut output and TileIn input channels, and the parts of the samples
/// that blocks sum over.
template <int TileOut, int TileIn>
struct WeightSums {
  int samples, kernels, in_channels, out_channels, taps;
  int parts;

  OMNI_HOST_DEVICE int in_tiles() const { return (in_channels + TileIn - 1) / TileIn; }
  OMNI_HOST_DEVICE int out_tiles() const { return (out_channels + TileOut - 1) / TileOut; }
  OMNI_HOST_DEVICE int channel_tiles() const { return in_tiles() * out_tiles(); }
  OMNI_HOST_DEVICE int kernel_groups() const { return (kernels + tile_kernels - 1) / tile_kernels; }
  std::int64_t weight_count() const { return std::int64_t{kernels} * out_channels * taps * in_channels; }
  /// Floats of workspace for the parts' gradients.
  std::int64_t part_floats() const { return parts_workspace(parts, weight_count()); }

  static WeightSums of(const ConvShape& shape, std::int64_t kernels) {
    return {narrow(shape.samples),      narrow(kernels),      narrow(shape.in_channels),
            narrow(shape.out_channels), narrow(shape.taps()), 1};
  }
  /// Cuts the samples, in `units`, for blocks of which each has `tap_tiles` of the taps.
  void cut(std::int64_t tap_tiles, std::int64_t units) {
    parts = narrow(parts_of_sum(std::int64_t{channel_tiles()} * tap_tiles * kernel_groups(), units));
  }
  Dim3 grid(int tap_tiles) const {
    return {static_cast<unsigned>(channel_tiles()), static_cast<unsigned>(tap_tiles),
            static_cast<unsigned>(kernel_groups() * parts)};
  }

  /// sum_in_parts of d_weight [K, O, taps, I].
  template <class Start>
  void add_up(float* d_weight, bool accumulate, float* workspace, Stream stream, const Start& start) const {
    sum_in_parts(parts, weight_count(), d_weight, accumulate, workspace, stream, start);
  }
};

/// What a block sums up: a tile of the gradients of some kernels, over a part of the samples, in units.
struct WeightTile {
  int first_out, first_in, channel_tile;
  int first_kernel, kernels;
  int part, first_unit, end_unit;

  template <int TileOut, int TileIn>
  OMNI_DEVICE static WeightTile of_this_block(const WeightSums<TileOut, TileIn>& sums, int units) {
    const int x = static_cast<int>(block_index().x), z = static_cast<int>(block_index().z);
    WeightTile tile;
    tile.first_out = x / sums.in_tiles() * TileOut;
    tile.first_in = x % sums.in_tiles() * TileIn;
    tile.channel_tile = x;
    tile.first_kernel = z % sums.kernel_groups() * tile_kernels;
    tile.kernels = at_most(tile_kernels, sums.kernels - tile.first_kernel);
    tile.part = z / sums.kernel_groups();
    const PartOfSum range = PartOfSum::of(tile.part, sums.parts, units);
    tile.first_unit = range.first;
    tile.end_unit = range.end;
    return tile;
  }
};

/// Sets the factors of all stages to ones, which stand for absent attention: copies overwrite what is present.
template <class Factors>
OMNI_DEVICE void fill_with_ones(Factors* factors) {
  constexpr int count = stages * sizeof(Factors) / sizeof(float);
  for (int i = thread_rank(); i < count; i += threads) reinterpret_cast<float*>(factors)[i] = 1;
}

/// d_weight [parts, K, O, taps, I] (+)= a warp's 16 output by 16 input channels of the tile's k-th kernel at a tap, two
/// m16n8 fragments; `out` and `in` are the first of the thread's channels.
template <int TileOut, int TileIn>
OMNI_DEVICE void store_gradient(const WeightSums<TileOut, TileIn>& sums, const WeightTile& tile, int k, int tap,
                                int out, int in, const Vec<float, 4> (&gradient)[2], float* d_weight, bool accumulate) {
  OMNI_UNROLL for (int i = 0; i < 4; ++i) {
    const int o = out + i % 2 * 8, channel = in + i / 2 * 8;
    if (o >= sums.out_channels || channel >= sums.in_channels) continue;
    const std::int64_t line = (std::int64_t{tile.part} * sums.kernels + tile.first_kernel + k) * sums.out_channels + o;
    write_pair(d_weight + (line * sums.taps + tap) * sums.in_channels + channel, gradient[i / 2][i % 2 * 2],
               gradient[i / 2][i % 2 * 2 + 1], accumulate);
  }
}

}  // namespace omniconv::kernels::mma
