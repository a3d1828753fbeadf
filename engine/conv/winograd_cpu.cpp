#include "engine/conv/winograd_cpu.h"

#include <algorithm>
#include <vector>

#include "engine/conv/attention_parts_cpu.h"
#include "engine/conv/panels_cpu.h"
#include "engine/conv/target_cpu.h"
#include "engine/conv/winograd_tiles_cpu.h"
#include "engine/library/parallel_cpu.h"

namespace omniconv::conv {

namespace {

using library::parallel_units;
using library::ThreadScratch;
using winograd::PointMatrices;
using winograd::points;
using winograd::taps;
using Attention = AttentionValues<float>;

constexpr std::int64_t block_rows = 8;  // tiles that a product keeps in registers
// Transformed input of the samples of a unit: with weights and products it fits the second-level cache of current
// server cores.
constexpr std::int64_t source_bytes = 1024 * 1024;
// Channels of the result that a unit computes: enough to hide that every unit transforms its input anew.
constexpr std::int64_t unit_channels = 128;

/// A pass in tiles. The data gradient's kernels are turned by half a turn.
struct Tiling : ConvPass {
  bool turned;
  std::int64_t samples, padding;

  Tiling(const ConvShape& shape, Direction direction)
      : ConvPass(shape, direction),
        turned(direction == Direction::data_gradient),
        samples(shape.samples),
        padding(turned ? 2 - shape.params.padding : shape.params.padding) {}
  std::int64_t tile_columns() const { return (width + 1) / 2; }
  std::int64_t tiles() const { return (height + 1) / 2 * tile_columns(); }
  winograd::TiledSource source() const {
    return {source_height, source_width, source_channels, padding, tile_columns()};
  }
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

/// product [8, width] = tiles [8, channels] · weights [channels, width].
template <int Vectors>
void multiply_block(const float* tiles, std::int64_t channels, const float* weights, float* product) {
  constexpr std::int64_t width = Vectors * lanes;
  Vector sums[block_rows][Vectors] = {};
  for (std::int64_t i = 0; i < channels; ++i, weights += width) add_products(tiles + i, channels, weights, sums);
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

/// The pass from source [N, pixels, source channels], scaled by source_scale [N, source channels] unless nullptr.
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
      winograd::transform_inputs(d.source(), source + n * d.source_pixels() * d.source_channels,
                                 source_scale ? source_scale + n * d.source_channels : nullptr, {0, d.source_channels},
                                 {0, tiles}, set_tiles.stride(), set_tiles.columns,
                                 set + (n - first) % together * tiles * set_tiles.columns);
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
  const bool even = ConvPass(shape, direction).channels % (2 * lanes) == 0;
  (even ? convolve<2> : convolve<1>)(shape, direction, attention, weight, source, source_scale, target);
}

}  // namespace

bool winograd_takes(const ConvShape& shape) {
  const Conv2dParams& p = shape.params;
  return shape.kernel_height == 3 && shape.kernel_width == 3 && p.stride == 1 && p.dilation == 1 && p.groups == 1 &&
         p.padding <= 2 && shape.in_channels % lanes == 0 && shape.out_channels % lanes == 0;
}

void winograd_forward(const ConvShape& shape, const Attention& attention, const float* input, const float* weight,
                      const Epilogue<float>& epilogue, float* output) {
  convolve(shape, Direction::forward, attention, weight, input, attention.channel,
           {.values = output, .scale = attention.filter, .epilogue = epilogue});
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
