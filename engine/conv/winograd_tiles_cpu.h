// The tiles of Winograd's F(2x2, 3x3): what its passes and its weight gradient share.
#pragma once

#include <cstdint>

#include "engine/conv/panels_cpu.h"
#include "engine/conv/vector_cpu.h"

namespace omniconv::conv::winograd {

inline constexpr std::int64_t taps = 9;
inline constexpr std::int64_t points = 16;  // of a transformed tile

/// A matrix [rows, columns] for each point. A line between them keeps the points' addresses out of one set of the
/// cache, which powers of two would map them to.
struct PointMatrices {
  std::int64_t rows, columns;
  std::int64_t stride() const { return rows * columns + lanes; }
  std::int64_t count() const { return points * stride(); }
};

/// Which pixels of a sample [height, width, channels] the tiles of a plane of outputs read.
struct TiledSource {
  std::int64_t height, width, channels, padding;
  std::int64_t tile_columns;
};

/// rows [tiles, columns] of all points = Bᵀ d B of the tiles, for the channels, a multiple of 16; d is the 4x4 pixels
/// that a tile reads, scaled by scale [channels of the source] unless nullptr.
void transform_inputs(const TiledSource& source, const float* sample, const float* scale, const Range& channels,
                      const Range& tiles, std::int64_t point_stride, std::int64_t row_stride, float* rows);

}  // namespace omniconv::conv::winograd
