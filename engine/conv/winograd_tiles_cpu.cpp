#include "engine/conv/winograd_tiles_cpu.h"

#include <algorithm>

#include "engine/library/parallel_cpu.h"

namespace omniconv::conv::winograd {

namespace {

/// transformed = Bᵀ d B of one tile in all channels. `pixels`: the 4x4 it reads; scale [channels] or nullptr.
void transform_tile(const float* const (&pixels)[points], const float* scale, std::int64_t channels,
                    std::int64_t stride, float* transformed) {
  for (std::int64_t c = 0; c < channels; c += lanes) {
    Vector columns[4][4];
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) {
      Vector d[4];
#pragma GCC unroll 4
      for (int y = 0; y < 4; ++y) {
        d[y] = vector_at(pixels[y * 4 + x] + c);
        if (scale) d[y] *= vector_at(scale + c);
      }
      columns[0][x] = d[0] - d[2];
      columns[1][x] = d[1] + d[2];
      columns[2][x] = d[2] - d[1];
      columns[3][x] = d[1] - d[3];
    }
    float* to = transformed + c;
#pragma GCC unroll 4
    for (int y = 0; y < 4; ++y, to += 4 * stride) {
      const Vector(&d)[4] = columns[y];
      vector_at(to) = d[0] - d[2];
      vector_at(to + stride) = d[1] + d[2];
      vector_at(to + 2 * stride) = d[2] - d[1];
      vector_at(to + 3 * stride) = d[1] - d[3];
    }
  }
}

}  // namespace

void transform_inputs(const TiledSource& source, const float* sample, const float* scale, const Range& channels,
                      const Range& tiles, std::int64_t point_stride, std::int64_t row_stride, float* rows) {
  float* zeros = library::ThreadScratch::get(library::ThreadScratch::panel, channels.count);
  std::fill_n(zeros, channels.count, 0.0f);
  const float* pixels[points];
  for (std::int64_t tile = tiles.first; tile < tiles.first + tiles.count; ++tile, rows += row_stride) {
    const std::int64_t top = tile / source.tile_columns * 2 - source.padding;
    const std::int64_t left = tile % source.tile_columns * 2 - source.padding;
    for (std::int64_t e = 0; e < points; ++e) {
      const std::int64_t h = top + e / 4, w = left + e % 4;
      const bool inside = h >= 0 && h < source.height && w >= 0 && w < source.width;
      pixels[e] = inside ? sample + (h * source.width + w) * source.channels + channels.first : zeros;
    }
    transform_tile(pixels, scale ? scale + channels.first : nullptr, channels.count, point_stride, rows);
  }
}

}  // namespace omniconv::conv::winograd
