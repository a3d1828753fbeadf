// What the tensor-core kernels have in common: how tiles of 16-bit values lie in shared memory, how pairs of results are
// stored, and how work that is summed over samples is shared among blocks. For .cu files only.
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

/// An extent as the kernels count them.
inline int narrow(std::int64_t extent) {
  return static_cast<int>(extent);
}

/// values[n, p, c] · scale[n, c], rounded, in `to`; without a scale, `values`. values and `to` [N, pixels, channels].
template <class Half>
const Half* scaled(const Half* values, const float* scale, Half* to, std::int64_t samples, std::int64_t pixels,
                   std::int64_t channels, Stream stream) {
  if (!scale) return values;
  scale_channels(values, scale, to, samples, pixels, channels, false, stream);
  return to;
}

/// Into how many parts the sum over `units` (samples, or groups of them) of each of `tiles` is cut, each part a block,
/// where one block fills a multiprocessor. More parts cost memory and a second pass, so they have to save a tenth of
/// the time. A function of the shape alone, or results would differ between GPUs: an H100 has 132 multiprocessors.
inline std::int64_t parts_of_sum(std::int64_t tiles, std::int64_t units) {
  constexpr std::int64_t multiprocessors = 132, most_waves = 4;
  const auto time = [&](std::int64_t parts) {
    const std::int64_t waves = (tiles * parts + multiprocessors - 1) / multiprocessors;
    return waves * ((units + parts - 1) / parts);
  };
  std::int64_t best = 1;
  for (std::int64_t parts = 2; parts <= units && tiles * parts <= most_waves * multiprocessors; ++parts)
    if (10 * time(parts) <= 9 * time(best)) best = parts;
  return best;
}

}  // namespace omniconv::kernels::mma
