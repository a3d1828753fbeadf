#include "engine/conv/winograd_weight_cpu.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "engine/conv/attention_parts_cpu.h"
#include "engine/conv/winograd_tiles_cpu.h"
#include "engine/library/parallel_cpu.h"
#include "engine/tensor.h"

namespace omniconv::conv {

namespace {

using library::parallel_units;
using library::ThreadScratch;
using winograd::PointMatrices;
using winograd::points;
using winograd::taps;
using Attention = AttentionValues<float>;

constexpr std::int64_t block_rows = 4;    // output channels that a product keeps in registers
constexpr std::int64_t block_tiles = 64;  // that a product sums over: their transforms stay in the second-level cache
// Output channels of a unit of work: few enough for that cache to hold K gradients and K weights as well.
constexpr std::int64_t unit_rows = 32;
// Enough pieces of work for many threads, few enough to keep the sums over them cheap.
constexpr std::int64_t wanted_units = 16;
constexpr std::int64_t most_samples = 2;  // folded at once

/// rows [tiles, channels] of all points = A g Aᵀ of the tiles of a sample's g [OH, OW, O], scaled by f [O] unless
/// nullptr.
void transform_gradients(const ConvShape& shape, const float* sample, const float* scale, const Range& channels,
                         const Range& tiles, std::int64_t stride, float* rows) {
  const std::int64_t width = shape.out_width(), tile_columns = (width + 1) / 2;
  for (std::int64_t tile = tiles.first; tile < tiles.first + tiles.count; ++tile, rows += channels.count) {
    const std::int64_t h = tile / tile_columns * 2, w = tile % tile_columns * 2;
    const bool below = h + 1 < shape.out_height(), beside = w + 1 < width;
    const float* pixel = sample + (h * width + w) * shape.out_channels + channels.first;
    for (std::int64_t c = 0; c < channels.count; c += lanes) {
      Vector g[2][2] = {};
      g[0][0] = vector_at(pixel + c);
      if (beside) g[0][1] = vector_at(pixel + shape.out_channels + c);
      if (below) g[1][0] = vector_at(pixel + width * shape.out_channels + c);
      if (below && beside) g[1][1] = vector_at(pixel + (width + 1) * shape.out_channels + c);
      const Vector f = scale ? vector_at(scale + channels.first + c) : 1.0f - Vector{};
      Vector columns[4][2];
#pragma GCC unroll 2
      for (int x = 0; x < 2; ++x) {
        const Vector above = g[0][x] * f, under = g[1][x] * f;
        columns[0][x] = above;
        columns[1][x] = above + under;
        columns[2][x] = above - under;
        columns[3][x] = -under;
      }
      float* to = rows + c;
#pragma GCC unroll 4
      for (int y = 0; y < 4; ++y, to += 4 * stride) {
        vector_at(to) = columns[y][0];
        vector_at(to + stride) = columns[y][0] + columns[y][1];
        vector_at(to + 2 * stride) = columns[y][0] - columns[y][1];
        vector_at(to + 3 * stride) = -columns[y][1];
      }
    }
  }
}

/// sums [4, width] (+)= gradients [tiles, 4 of out]ᵀ · inputs [tiles, width].
template <int Vectors>
void multiply_block(std::int64_t tiles, const float* gradients, std::int64_t out, const float* inputs, bool add,
                    float* sums) {
  constexpr std::int64_t width = Vectors * lanes;
  Vector d[block_rows][Vectors] = {};
  for (std::int64_t tile = 0; tile < tiles; ++tile, gradients += out, inputs += width)
    add_products(gradients, 1, inputs, d);
#pragma GCC unroll 4
  for (int r = 0; r < block_rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      Vector& to = vector_at(sums + r * width + v * lanes);
      to = add ? to + d[r][v] : d[r][v];
    }
}

/// d [9, width] = Gᵀ D G of one row of the products.
template <int Vectors>
void invert(const PointMatrices& layout, const float* products, float* d) {
  const Vector half = 0.5f - Vector{};
  for (std::int64_t part = 0; part < Vectors * lanes; part += lanes) {
    Vector columns[3][4];
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) {
      Vector m[4];
#pragma GCC unroll 4
      for (int y = 0; y < 4; ++y) m[y] = vector_at(products + (y * 4 + x) * layout.stride() + part);
      const Vector sum = half * (m[1] + m[2]);
      columns[0][x] = m[0] + sum;
      columns[1][x] = half * (m[1] - m[2]);
      columns[2][x] = sum + m[3];
    }
#pragma GCC unroll 3
    for (int y = 0; y < 3; ++y) {
      const Vector(&m)[4] = columns[y];
      const Vector sum = half * (m[1] + m[2]);
      float* to = d + 3 * y * Vectors * lanes + part;
      vector_at(to) = m[0] + sum;
      vector_at(to + Vectors * lanes) = half * (m[1] - m[2]);
      vector_at(to + 2 * Vectors * lanes) = sum + m[3];
    }
  }
}

/// gradients [9, K, width] += Σ_n q_nkt D_n and dots [samples, K, 9, 16 lanes] += <D_n, weights [9, K, width]>, of one
/// output channel. d [samples, 9, width], shares q [samples, K, 9].
template <int Vectors, int Samples>
void fold(std::int64_t kernels, const float* d, const float* shares, const float* weights, float* gradients,
          float* dots) {
  constexpr std::int64_t width = Vectors * lanes;
  for (std::int64_t t = 0; t < taps; ++t) {
    Vector of_tap[Samples][Vectors];
#pragma GCC unroll 2
    for (int n = 0; n < Samples; ++n)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) of_tap[n][v] = vector_at(d + (n * taps + t) * width + v * lanes);
    for (std::int64_t k = 0; k < kernels; ++k, weights += width, gradients += width) {
      Vector q[Samples], sums[Samples] = {};
#pragma GCC unroll 2
      for (int n = 0; n < Samples; ++n) q[n] = shares[(n * kernels + k) * taps + t] - Vector{};
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        Vector gradient = vector_at(gradients + v * lanes);
        const Vector weight = vector_at(weights + v * lanes);
#pragma GCC unroll 2
        for (int n = 0; n < Samples; ++n) {
          gradient += q[n] * of_tap[n][v];
          sums[n] += weight * of_tap[n][v];
        }
        vector_at(gradients + v * lanes) = gradient;
      }
#pragma GCC unroll 2
      for (int n = 0; n < Samples; ++n) vector_at(dots + ((n * kernels + k) * taps + t) * lanes) += sums[n];
    }
  }
}

/// A unit of work's channels: what it reads, multiplies and folds of them.
template <int Vectors>
class Channels {
 public:
  static constexpr std::int64_t width = Vectors * lanes;

  Channels(const ConvShape& shape, const Attention& attention, std::int64_t first_out, std::int64_t first_in)
      : shape_(shape),
        attention_(attention),
        out_{first_out, std::min(unit_rows, shape.out_channels - first_out)},
        in_{first_in, width},
        tile_columns_((shape.out_width() + 1) / 2),
        tiles_((shape.out_height() + 1) / 2 * tile_columns_),
        products_layout_{out_.count, width} {}

  std::int64_t rows() const { return out_.count; }
  const PointMatrices& products_layout() const { return products_layout_; }
  /// Of gradients and weights [rows, 9, K, width].
  std::int64_t gradient_count() const { return out_.count * taps * attention_.kernels * width; }

  /// products [16, rows, width] = Σ over the tiles of `samples`.
  void multiply(const Range& samples, const float* input, const float* d_output, float* products) const {
    const PointMatrices inputs{block_tiles, width}, gradients{block_tiles, out_.count};
    float* transformed_inputs = ThreadScratch::get(ThreadScratch::source, inputs.count() + gradients.count());
    float* transformed_gradients = transformed_inputs + inputs.count();
    const std::int64_t total = samples.count * tiles_;
    for (std::int64_t first = 0; first < total; first += block_tiles) {
      const std::int64_t count = std::min(block_tiles, total - first);
      for (std::int64_t row = 0; row < count;) {
        const std::int64_t n = samples.first + (first + row) / tiles_, tile = (first + row) % tiles_;
        const Range tiles{tile, std::min(tiles_ - tile, count - row)};
        winograd::transform_inputs(
            {shape_.height, shape_.width, shape_.in_channels, shape_.params.padding, tile_columns_},
            input + n * shape_.in_pixels() * shape_.in_channels,
            attention_.channel ? attention_.channel + n * shape_.in_channels : nullptr, in_, tiles, inputs.stride(),
            width, transformed_inputs + row * width);
        transform_gradients(shape_, d_output + n * shape_.out_pixels() * shape_.out_channels,
                            attention_.filter ? attention_.filter + n * shape_.out_channels : nullptr, out_, tiles,
                            gradients.stride(), transformed_gradients + row * out_.count);
        row += tiles.count;
      }
      for (std::int64_t point = 0; point < points; ++point)
        for (std::int64_t r = 0; r < out_.count; r += block_rows)
          multiply_block<Vectors>(count, transformed_gradients + point * gradients.stride() + r, out_.count,
                                  transformed_inputs + point * inputs.stride(), first > 0,
                                  products + point * products_layout_.stride() + r * width);
    }
  }

  /// Folds the products of `Samples` samples into gradients and their dots.
  template <int Samples>
  void fold_all(const float* products, const float* shares, const float* weights, float* gradients, float* dots) const {
    const std::int64_t row_count = taps * attention_.kernels * width;
    float d[most_samples * taps * width];
    for (std::int64_t r = 0; r < out_.count; ++r) {
      for (int n = 0; n < Samples; ++n)
        invert<Vectors>(products_layout_, products + n * products_layout_.count() + r * width, d + n * taps * width);
      fold<Vectors, Samples>(attention_.kernels, d, shares, weights + r * row_count, gradients + r * row_count, dots);
    }
  }

  /// Calls visit(weights [width] of [K, O, 3, 3, I], the same of [rows, 9, K, width]).
  template <class Weight, class Visit>
  void for_each_row(Weight* weight, float* values, const Visit& visit) const {
    for (std::int64_t r = 0; r < out_.count; ++r)
      for (std::int64_t t = 0; t < taps; ++t)
        for (std::int64_t k = 0; k < attention_.kernels; ++k, values += width)
          visit(weight + ((k * shape_.out_channels + out_.first + r) * taps + t) * shape_.in_channels + in_.first,
                values);
  }

 private:
  const ConvShape& shape_;
  const Attention& attention_;
  Range out_, in_;
  std::int64_t tile_columns_, tiles_;
  PointMatrices products_layout_;
};

template <int Vectors>
void weight_gradient(const ConvShape& shape, const Attention& attention, const float* input, const float* weight,
                     const float* d_output, float* d_weight, bool accumulate, float* weighted_kst) {
  constexpr std::int64_t width = Channels<Vectors>::width;
  const std::int64_t samples = shape.samples, kernels = attention.kernels, share_count = kernels * taps;
  const bool per_sample = weighted_kst || attention.spatial || attention.kernel || kernels > 1;
  const std::vector<float> shares = per_sample ? all_shares(shape, attention) : std::vector<float>();

  const std::int64_t in_ranges = shape.in_channels / width;
  const std::int64_t ranges = (shape.out_channels + unit_rows - 1) / unit_rows * in_ranges;
  const std::int64_t wanted_chunks = std::clamp<std::int64_t>(wanted_units / ranges, 1, samples);
  const std::int64_t chunk = (samples + wanted_chunks - 1) / wanted_chunks;
  const std::int64_t chunks = (samples + chunk - 1) / chunk;
  const std::int64_t gradient_count = unit_rows * share_count * width;
  Tensor partials;  // [ranges, chunks, gradient_count]
  if (chunks > 1) partials = Tensor::empty({ranges, chunks, gradient_count}, DType::f32);
  Tensor range_dots;  // [ranges, N, K, 9]: <D, W_k>
  if (weighted_kst) range_dots = Tensor::empty({ranges, samples, share_count}, DType::f32);

  const auto channels_of = [&](std::int64_t range) {
    return Channels<Vectors>(shape, attention, range / in_ranges * unit_rows, range % in_ranges * width);
  };
  const auto write = [&](const Channels<Vectors>& channels, float* gradients) {
    if (d_weight)
      channels.for_each_row(d_weight, gradients, [&](float* to, const float* from) {
        for (std::int64_t j = 0; j < width; ++j) to[j] = accumulate ? to[j] + from[j] : from[j];
      });
  };

  parallel_units(ranges * chunks, [&](std::int64_t unit) {
    const std::int64_t range = unit / chunks, first = unit % chunks * chunk, last = std::min(first + chunk, samples);
    const Channels<Vectors> channels = channels_of(range);
    const std::int64_t products_count = channels.products_layout().count();
    float* gradients = chunks > 1 ? partials.data<float>() + unit * gradient_count
                                  : ThreadScratch::get(ThreadScratch::gradient, gradient_count);
    float* products = ThreadScratch::get(ThreadScratch::destination, most_samples * products_count);
    if (per_sample) {
      std::fill_n(gradients, channels.gradient_count(), 0.0f);
      float* weights = ThreadScratch::get(ThreadScratch::aggregated, gradient_count);
      if (weighted_kst)
        channels.for_each_row(weight, weights, [&](const float* from, float* to) { std::copy_n(from, width, to); });
      else
        std::fill_n(weights, channels.gradient_count(), 0.0f);
      std::vector<float> dots(static_cast<std::size_t>(most_samples * share_count * lanes));
      const auto pass = [&]<int Samples>(std::integral_constant<int, Samples>, std::int64_t n) {
        for (int s = 0; s < Samples; ++s) channels.multiply({n + s, 1}, input, d_output, products + s * products_count);
        std::fill(dots.begin(), dots.end(), 0.0f);
        channels.template fold_all<Samples>(products, shares.data() + n * share_count, weights, gradients, dots.data());
        if (weighted_kst)
          sum_lanes(dots.data(), Samples * share_count, range_dots.data<float>() + (range * samples + n) * share_count);
      };
      std::int64_t n = first;
      for (; n + most_samples <= last; n += most_samples) pass(std::integral_constant<int, most_samples>{}, n);
      for (; n < last; ++n) pass(std::integral_constant<int, 1>{}, n);
    } else {
      channels.multiply({first, last - first}, input, d_output, products);
      for (std::int64_t r = 0; r < channels.rows(); ++r)
        invert<Vectors>(channels.products_layout(), products + r * width, gradients + r * taps * width);
    }
    if (chunks == 1) write(channels, gradients);
  });

  if (chunks > 1 && d_weight)
    parallel_units(ranges, [&](std::int64_t range) {
      const Channels<Vectors> channels = channels_of(range);
      float* sum = partials.data<float>() + range * chunks * gradient_count;
      for (std::int64_t c = 1; c < chunks; ++c)
        for (std::int64_t e = 0; e < channels.gradient_count(); ++e) sum[e] += sum[c * gradient_count + e];
      write(channels, sum);
    });
  if (weighted_kst) weigh_dots(shares, range_dots.data<float>(), ranges, weighted_kst);
}

}  // namespace

void winograd_weight_gradient(const ConvShape& shape, const Attention& attention, const float* input,
                              const float* weight, const float* d_output, float* d_weight, bool accumulate,
                              float* weighted_kst) {
  const auto compute = shape.in_channels % (4 * lanes) == 0   ? weight_gradient<4>
                       : shape.in_channels % (2 * lanes) == 0 ? weight_gradient<2>
                                                              : weight_gradient<1>;
  compute(shape, attention, input, weight, d_output, d_weight, accumulate, weighted_kst);
}

}  // namespace omniconv::conv
