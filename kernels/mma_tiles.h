// What the tensor-core kernels have in common: how tiles of 16-bit values lie in shared memory, and how pairs of
// results and moments of results are stored. For .cu files only.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/half.h"
#include "kernels/pooling.h"
#include "kernels/simt/simt.h"
#include "kernels/simt/tensor_core.h"

namespace omniconv::kernels::mma {

using namespace omniconv::simt;

inline constexpr int threads = 256;  // of a block
inline constexpr int stages = 3;     // steps' operands in shared memory or on their way

/// 16-bit values of 16 bytes, the unit of copies into shared memory and of matrix rows.
inline constexpr int piece = 8;

/// Where a piece lies in a tile of lines of 4, 8 or a multiple of 8 pieces: permuted such that the eight rows of a
/// matrix, one piece of eight consecutive lines from a multiple of eight on, lie in different banks.
template <int LinePieces>
OMNI_DEVICE int swizzled(int line, int piece_of_line) {
  static_assert(LinePieces == 4 || LinePieces % 8 == 0);
  const int turn = LinePieces == 4 ? line / 2 % 4 : line % 8;
  return (line * LinePieces + (piece_of_line ^ turn)) * piece;
}

// The tile of weights of a step of a forward or data-gradient product, which has one tap.
inline constexpr int tile_columns = 64;
inline constexpr int depth = 32;  // inner channels
inline constexpr int tile_weights = tile_columns * depth;
static_assert(tile_weights == threads * piece, "a thread brings one piece of a tile");

/// Its lines are output channels of the kernels, with `depth` input channels each in the forward direction,
/// `tile_columns` in the data gradient.
template <bool Forward>
inline constexpr int weight_line_pieces = (Forward ? depth : tile_columns) / piece;

/// Where the row of a matrix that the lane names to ldmatrix lies, transposed unless Forward: 16 columns from `column`
/// on, of one half of the depth. Matrices are columns 0 to 7 of the upper and the lower eight of the half's depth, then
/// columns 8 to 15.
template <bool Forward>
OMNI_DEVICE int weight_row(int column, int half) {
  const int row = lane_index() % 8, lower = lane_index() / 8 % 2, right = lane_index() / 16;
  return Forward ? swizzled<weight_line_pieces<true>>(column + right * 8 + row, half * 2 + lower)
                 : swizzled<weight_line_pieces<false>>(half * 16 + lower * 8 + row, column / piece + right);
}

/// (to[0], to[1]) (+)= (low, high), at a multiple of their size in bytes; 16-bit values are rounded once.
template <class T>
OMNI_DEVICE void write_pair(T* to, float low, float high, bool accumulate) {
  if (accumulate) {
    const auto before = load_vector<2>(to);
    low += before[0];
    high += before[1];
  }
  if constexpr (is_half<T>)
    store_vector(to, std::bit_cast<Vec<T, 2>>(pack<T>(low, high)));
  else
    store_vector(to, Vec<T, 2>{{low, high}});
}

/// The sum of term(value) over a column of a warp's tile of results, of which the first `rows` rows count, in all lanes
/// that have the column: of their columns j · 8 + 2 · (lane % 4) + side.
template <int RowTiles, class Term>
OMNI_DEVICE float column_sum(const Vec<float, 4> (&values)[RowTiles][4], int rows, int j, int side, Term term) {
  float sum = 0;
  OMNI_UNROLL for (int m = 0; m < RowTiles; ++m) {
    OMNI_UNROLL for (int half = 0; half < 2; ++half) {
      if (m * 16 + half * 8 + lane_index() / 4 < rows) sum += term(values[m][j][2 * half + side]);
    }
  }
  for (int mask = 4; mask < warp_size; mask *= 2) sum += shuffle_xor(sum, mask);
  return sum;
}

/// What a warp is to the moments of a part of the rows (moments.h), which `Warps` warps have one behind the other.
struct MomentsPlace {
  int rows;             // of the part; 0: nothing is left of it
  int warp;             // which of its warps
  int column, columns;  // the first of the warp's columns, and how many there are in all
  float* shared;        // [Warps, tile_columns] from the warp's first column on; not used by a single warp
  float* part;          // [2, columns]
};

/// Leaves the moments of the values' columns: deviations are taken from the mean, so nothing cancels. All threads of
/// the block take part if there are several warps.
template <int Warps, int RowTiles>
OMNI_DEVICE void write_moments(const MomentsPlace& place, const Vec<float, 4> (&values)[RowTiles][4]) {
  const int pair = lane_index() % 4 * 2, own_rows = place.rows - place.warp * RowTiles * 16;
  const bool first_lane = lane_index() < 4;
  const auto sums_of_part = [&](Vec<float, 2>(&sums)[4]) {
    if constexpr (Warps > 1) {
      barrier();
      if (first_lane)
        OMNI_UNROLL for (int j = 0; j < 4; ++j)
            store_vector(place.shared + place.warp * tile_columns + j * 8 + pair, sums[j]);
      barrier();
      OMNI_UNROLL for (int j = 0; j < 4; ++j) {
        sums[j] = {};
        for (int warp = 0; warp < Warps; ++warp) {
          const auto of_warp = load_vector<2>(place.shared + warp * tile_columns + j * 8 + pair);
          sums[j][0] += of_warp[0];
          sums[j][1] += of_warp[1];
        }
      }
    }
  };
  const bool writes = first_lane && place.warp == 0 && place.rows > 0;
  const auto write = [&](float* line, const Vec<float, 2>(&sums)[4]) {
    OMNI_UNROLL for (int j = 0; j < 4; ++j) {
      const int column = place.column + j * 8 + pair;
      if (writes && column < place.columns) store_vector(line + column, sums[j]);
    }
  };

  Vec<float, 2> means[4], squares[4];
  OMNI_UNROLL for (int j = 0; j < 4; ++j) {
    OMNI_UNROLL for (int side = 0; side < 2; ++side) means[j][side] =
        column_sum(values, own_rows, j, side, [](float value) { return value; });
  }
  sums_of_part(means);
  const auto count = static_cast<float>(place.rows > 0 ? place.rows : 1);
  OMNI_UNROLL for (int j = 0; j < 4; ++j) {
    OMNI_UNROLL for (int side = 0; side < 2; ++side) {
      const float mean = means[j][side] /= count;
      squares[j][side] =
          column_sum(values, own_rows, j, side, [mean](float value) { return (value - mean) * (value - mean); });
    }
  }
  sums_of_part(squares);
  write(place.part, means);
  write(place.part + place.columns, squares);
}

/// values[n, p, c] · scale[n, c], rounded, in `to`; without a scale, `values`. values and `to` [N, pixels, channels].
template <class Half>
const Half* scaled(const Half* values, const float* scale, Half* to, std::int64_t samples, std::int64_t pixels,
                   std::int64_t channels, Stream stream) {
  if (!scale) return values;
  scale_channels(values, scale, to, samples, pixels, channels, false, stream);
  return to;
}

}  // namespace omniconv::kernels::mma
