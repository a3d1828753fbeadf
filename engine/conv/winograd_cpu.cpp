#include "engine/conv/winograd_cpu.h"

#include <algorithm>
#include <vector>

#include "engine/conv/attention_parts_cpu.h"
#include "engine/conv/panels_cpu.h"
#include "engine/conv/target_cpu.h"
#include "engine/library/parallel_cpu.h"

namespace omniconv::conv {

namespace {

using library::parallel_units;
using library::ThreadScratch;
using Attention = AttentionValues<float>;

constexpr std::int64_t taps = 9;
constexpr std::int64_t points = 16;     // of a transformed tile
constexpr std::int64_t block_rows = 8;  // tiles that a product keeps in registers
// Transformed input of the samples of a unit: with weights and products it fits the second-level cache of current
// server cores.
constexpr std::int64_t source_bytes = 1024 * 1024;
// Channels of the result that a unit computes: enough to hide that every unit transforms its input anew.
constexpr std::int64_t unit_channels = 128;

/// A passage in tiles. The data gradient's kernels are turned by half a turn.
struct Tiling : Passage {
  bool turned;
  std::int64_t samples, padding;

  Tiling(const ConvShape& shape, Direction direction)
      : Passage(shape, direction),
        turned(direction == Direction::data_gradient),
        samples(shape.samples),
        padding(turned ? 2 - shape.params.padding : shape.params.padding) {}
  std::int64_t tile_columns() const { return (width + 1) / 2; }
  std::int64_t tiles() const { return (height + 1) / 2 * tile_columns(); }
};

/// A matrix [rows, columns] for each point. A line between them keeps the points' addresses out of one set of the
/// cache, which powers of two would map them to.
struct PointMatrices {
  std::int64_t rows, columns;
  std::int64_t stride() const { return rows * columns + lanes; }
  std::int64_t count() const { return points * stride(); }
};

/// transformed [16, source channels, width] = G (Σ_k q_k ⊙ W_k) Gᵀ, for a panel of kernels that begin `stride` apart;
/// shares q [K, 9], or nullptr for one kernel as it is. Turning the kernel exchanges the first and the last points.
template <int Vectors>
void transform_weights(const PointMatrices& layout, bool turned, const float* packed, std::int64_t kernels,
                       std::int64_t stride, const float* shares, float* transformed) {
  constexpr std::int64_t width = Vectors * lanes;
  const Vector half = 0.5f - Vector{};
  for (std::int64_t i = 0; i < layout.rows; ++i, packed += taps * width, transformed += width)
    for (std::int64_t part = 0; part < width; part += lanes) {
      Vector w[taps];
#pragma GCC unroll 9
      for (int t = 0; t < taps; ++t) {
        w[t] = vector_at(packed + t * width + part);
        if (shares) w[t] *= shares[t] - Vector{};
      }
      for (std::int64_t k = 1; k < kernels; ++k) {
        const float* from = packed + k * stride + part;
#pragma GCC unroll 9
        for (int t = 0; t < taps; ++t) w[t] += (shares[k * taps + t] - Vector{}) * vector_at(from + t * width);
      }
      Vector rows[4][3];
#pragma GCC unroll 3
      for (int x = 0; x < 3; ++x) {
        const Vector ends = half * (w[x] + w[6 + x]), middle = half * w[3 + x];
        rows[0][x] = w[x];
        rows[1][x] = ends + middle;
        rows[2][x] = ends - middle;
        rows[3][x] = w[6 + x];
      }
#pragma GCC unroll 4
      for (int y = 0; y < 4; ++y) {
        const Vector ends = half * (rows[y][0] + rows[y][2]), middle = half * rows[y][1];
        const bool outer = y == 0 || y == 3;
        float* to = transformed + part + 4 * (turned && outer ? 3 - y : y) * layout.stride();
        vector_at(to + (turned ? 3 : 0) * layout.stride()) = rows[y][0];
        vector_at(to + layout.stride()) = ends + middle;
        vector_at(to + 2 * layout.stride()) = ends - middle;
        vector_at(to + (turned ? 0 : 3) * layout.stride()) = rows[y][2];
      }
    }
}

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

/// The rows from `first_row` on: all tiles of one sample [H, W, channels], scaled by scale [channels].
void transform_sample(const Tiling& d, const float* sample, const float* scale, const PointMatrices& layout,
                      std::int64_t first_row, float* transformed) {
  float* zeros = ThreadScratch::get(ThreadScratch::panel, d.source_channels);
  std::fill_n(zeros, d.source_channels, 0.0f);
  const float* pixels[points];
  for (std::int64_t tile = 0; tile < d.tiles(); ++tile) {
    const std::int64_t top = tile / d.tile_columns() * 2 - d.padding, left = tile % d.tile_columns() * 2 - d.padding;
    for (std::int64_t e = 0; e < points; ++e) {
      const std::int64_t h = top + e / 4, w = left + e % 4;
      const bool inside = h >= 0 && h < d.source_height && w >= 0 && w < d.source_width;
      pixels[e] = inside ? sample + (h * d.source_width + w) * d.source_channels : zeros;
    }
    transform_tile(pixels, scale, d.source_channels, layout.stride(),
                   transformed + (first_row + tile) * layout.columns);
  }
}

/// product [8, width] = tiles [8, channels] · weights [channels, width].
template <int Vectors>
void multiply_block(const float* tiles, std::int64_t channels, const float* weights, float* product) {
  constexpr std::int64_t width = Vectors * lanes;
  Vector sums[block_rows][Vectors] = {};
  for (std::int64_t i = 0; i < channels; ++i, weights += width) {
    Vector row[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      Vector part = vector_at(weights + v * lanes);
      pin(part);
      row[v] = part;
    }
#pragma GCC unroll 8
    for (int r = 0; r < block_rows; ++r) {
      const Vector factor = tiles[r * channels + i] - Vector{};
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sums[r][v] += factor * row[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < block_rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) vector_at(product + r * width + v * lanes) = sums[r][v];
}

/// The products of all points.
template <int Vectors>
void multiply(const PointMatrices& tiles, const float* transformed, const PointMatrices& panel, const float* weights,
              const PointMatrices& result, float* products) {
  for (std::int64_t point = 0; point < points; ++point)
    for (std::int64_t row = 0; row < tiles.rows; row += block_rows)
      multiply_block<Vectors>(transformed + point * tiles.stride() + row * tiles.columns, tiles.columns,
                              weights + point * panel.stride(),
                              products + point * result.stride() + row * result.columns);
}

/// Aᵀ m A of the sample's tiles, which are the rows from first_row on, goes to the target: `Vectors` · 16 channels from
/// `channel` on.
template <int Vectors>
void write_sample(const Tiling& d, const PointMatrices& layout, const float* products, std::int64_t first_row,
                  std::int64_t n, std::int64_t channel, const Target& target) {
  for (std::int64_t part = 0; part < Vectors * lanes; part += lanes) {
    TargetLanes to(target, n, d.pixels(), d.channels, channel + part);
    for (std::int64_t tile = 0; tile < d.tiles(); ++tile) {
      const float* from = products + (first_row + tile) * layout.columns + part;
      Vector rows[2][4];
#pragma GCC unroll 4
      for (int x = 0; x < 4; ++x) {
        Vector m[4];
#pragma GCC unroll 4
        for (int y = 0; y < 4; ++y) m[y] = vector_at(from + (y * 4 + x) * layout.stride());
        rows[0][x] = m[0] + m[1] + m[2];
        rows[1][x] = m[1] - m[2] - m[3];
      }
      const std::int64_t h = tile / d.tile_columns() * 2, w = tile % d.tile_columns() * 2;
#pragma GCC unroll 2
      for (int y = 0; y < 2; ++y) {
        if (h + y >= d.height) break;
        const std::int64_t pixel = (h + y) * d.width + w;
        to.write(pixel, rows[y][0] + rows[y][1] + rows[y][2]);
        if (w + 1 < d.width) to.write(pixel + 1, rows[y][1] - rows[y][2] - rows[y][3]);
      }
    }
    to.finish();
  }
}

/// The passage from source [N, pixels, source channels], scaled by source_scale [N, source channels] unless nullptr.
template <int Vectors>
void convolve(const ConvShape& shape, Direction direction, const Attention& attention, const float* weight,
              const float* source, const float* source_scale, const Target& target) {
  constexpr std::int64_t width = Vectors * lanes;
  const Tiling d(shape, direction);
  const bool per_sample = attention.spatial || attention.kernel || attention.kernels > 1;
  const std::vector<float> shares = per_sample ? all_shares(shape, attention) : std::vector<float>();
  const std::int64_t kernels = attention.kernels, tiles = d.tiles();
  const std::int64_t tile_bytes = points * d.source_channels * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t group = std::clamp<std::int64_t>(source_bytes / (tiles * tile_bytes), 1, d.samples);
  const std::int64_t groups = (d.samples + group - 1) / group;
  const std::int64_t panels = d.channels / width;
  const std::int64_t range = std::clamp<std::int64_t>(unit_channels / width, 1, panels);
  const std::int64_t ranges = (panels + range - 1) / range;
  const PointMatrices panel{d.source_channels, width};

  const Tensor packed = pack_panels(shape, direction, width, taps, kernels, weight);
  const std::int64_t packed_stride = d.source_channels * taps * width;
  Tensor shared;  // transformed weights of all panels, where all samples have the same
  if (!per_sample) {
    shared = Tensor::empty({panels, panel.count()}, DType::f32);
    parallel_units(panels, [&](std::int64_t p) {
      transform_weights<Vectors>(panel, d.turned, packed.data<float>() + p * packed_stride, 1, packed_stride, nullptr,
                                 shared.data<float>() + p * panel.count());
    });
  }

  parallel_units(ranges * groups, [&](std::int64_t unit) {
    const std::int64_t first = unit % groups * group, last = std::min(first + group, d.samples);
    // Samples that share weights share a product.
    const std::int64_t together = per_sample ? 1 : last - first;
    const std::int64_t rows = (together * tiles + block_rows - 1) / block_rows * block_rows;
    const PointMatrices set_tiles{rows, d.source_channels}, result{rows, width};
    const std::int64_t sets = (last - first) / together;
    float* transformed = ThreadScratch::get(ThreadScratch::source, sets * set_tiles.count());
    float* products = ThreadScratch::get(ThreadScratch::destination, result.count());
    float* weights = per_sample ? ThreadScratch::get(ThreadScratch::aggregated, panel.count()) : nullptr;
    for (std::int64_t n = first; n < last; ++n) {
      float* set = transformed + (n - first) / together * set_tiles.count();
      transform_sample(d, source + n * d.source_pixels() * d.source_channels,
                       source_scale ? source_scale + n * d.source_channels : nullptr, set_tiles,
                       (n - first) % together * tiles, set);
    }
    for (std::int64_t set = 0; set < sets; ++set)  // no sums of what the memory happened to hold
      for (std::int64_t point = 0; point < points; ++point)
        std::fill_n(
            transformed + set * set_tiles.count() + point * set_tiles.stride() + together * tiles * set_tiles.columns,
            (rows - together * tiles) * set_tiles.columns, 0.0f);

    const std::int64_t first_panel = unit / groups * range;
    for (std::int64_t p = first_panel; p < std::min(first_panel + range, panels); ++p)
      for (std::int64_t set = 0; set < sets; ++set) {
        const std::int64_t n = first + set * together;
        if (per_sample)
          transform_weights<Vectors>(panel, d.turned, packed.data<float>() + p * kernels * packed_stride, kernels,
                                     packed_stride, shares.data() + n * kernels * taps, weights);
        multiply<Vectors>(set_tiles, transformed + set * set_tiles.count(), panel,
                          per_sample ? weights : shared.data<float>() + p * panel.count(), result, products);
        for (std::int64_t s = 0; s < together; ++s)
          write_sample<Vectors>(d, result, products, s * tiles, n + s, p * width, target);
      }
  });
}

void convolve(const ConvShape& shape, Direction direction, const Attention& attention, const float* weight,
              const float* source, const float* source_scale, const Target& target) {
  const bool even = Passage(shape, direction).channels % (2 * lanes) == 0;
  (even ? convolve<2> : convolve<1>)(shape, direction, attention, weight, source, source_scale, target);
}

}  // namespace

bool winograd_takes(const ConvShape& shape) {
  const Conv2dParams& p = shape.params;
  return shape.kernel_height == 3 && shape.kernel_width == 3 && p.stride == 1 && p.dilation == 1 && p.groups == 1 &&
         p.padding <= 2 && shape.in_channels % lanes == 0 && shape.out_channels % lanes == 0;
}

void winograd_forward(const ConvShape& shape, const Attention& attention, const float* input, const float* weight,
                      float* output) {
  convolve(shape, Direction::forward, attention, weight, input, attention.channel,
           {.values = output, .scale = attention.filter});
}

void winograd_data_gradient(const ConvShape& shape, const Attention& attention, const float* input, const float* weight,
                            const float* d_output, float* d_input, bool accumulate, float* weighted_channel) {
  convolve(shape, Direction::data_gradient, attention, weight, d_output, attention.filter,
           {.values = d_input,
            .scale = attention.channel,
            .accumulate = accumulate,
            .reference = input,
            .dots = weighted_channel});
}

}  // namespace omniconv::conv
