#include "engine/conv/folded_weight_cpu.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/conv/attention_parts_cpu.h"
#include "engine/conv/vector_cpu.h"
#include "engine/library/parallel_cpu.h"
#include "engine/tensor.h"

namespace omniconv::conv {

namespace {

using library::parallel_units;
using library::ThreadScratch;
using Attention = AttentionValues<float>;

// Input of the samples that pass while a tile of weights stays: half of the second-level cache of current server
// cores, so that it is still there for the next tile.
constexpr std::int64_t chunk_bytes = 512 * 1024;
// What of the first-level cache (48 KB in current server cores) is filled on purpose.
constexpr std::int64_t first_level_bytes = 32 * 1024;
// Enough pieces of work for many threads, few enough to keep the sums over them cheap.
constexpr std::int64_t wanted_units = 64;

/// Activations [N, pixels, channels] ⊙ scale [N, channels], cut into [tiles, N, pixels, Width], zero beyond the
/// channels.
template <std::int64_t Width>
class Blocked {
 public:
  Blocked(const float* source, const float* scale, std::int64_t samples, std::int64_t pixels, std::int64_t channels)
      : samples_(samples), pixels_(pixels), channels_(channels), tiles_((channels + Width - 1) / Width) {
    const bool aligned = reinterpret_cast<std::uintptr_t>(source) % sizeof(Vector) == 0;
    if (channels == Width && !scale && aligned) {
      data_ = source;
      return;
    }
    storage_ = Tensor::empty({tiles_, samples, pixels, Width}, DType::f32);
    data_ = storage_.data<float>();
    parallel_units(samples, [&](std::int64_t n) { cut(source, scale, n); });
  }

  std::int64_t tiles() const { return tiles_; }
  std::int64_t sample_count() const { return pixels_ * Width; }
  const float* at(std::int64_t tile, std::int64_t n) const { return data_ + (tile * samples_ + n) * sample_count(); }

 private:
  static constexpr std::int64_t piece = 32;  // pixels, whose channels stay in the first-level cache

  void cut(const float* source, const float* scale, std::int64_t n) {
    for (std::int64_t first_pixel = 0; first_pixel < pixels_; first_pixel += piece) {
      const std::int64_t count = std::min(piece, pixels_ - first_pixel);
      for (std::int64_t tile = 0; tile < tiles_; ++tile) {
        const std::int64_t channel = tile * Width;
        const float* from = source + (n * pixels_ + first_pixel) * channels_ + channel;
        const float* factors = scale ? scale + n * channels_ + channel : nullptr;
        float* to = storage_.data<float>() + (tile * samples_ + n) * sample_count() + first_pixel * Width;
        if (channel + Width <= channels_) {
          for (std::int64_t p = 0; p < count; ++p, from += channels_, to += Width) copy(from, factors, to, Width);
        } else {
          const std::int64_t width = channels_ - channel;
          for (std::int64_t p = 0; p < count; ++p, from += channels_, to += Width) {
            copy(from, factors, to, width);
            std::fill(to + width, to + Width, 0.0f);
          }
        }
      }
    }
  }

  /// Inlined, so that a constant count becomes a few vector instructions.
  static void copy(const float* from, const float* factors, float* to, std::int64_t count) {
    if (factors) {
      for (std::int64_t j = 0; j < count; ++j) to[j] = from[j] * factors[j];
    } else {
      for (std::int64_t j = 0; j < count; ++j) to[j] = from[j];
    }
  }

  std::int64_t samples_, pixels_, channels_, tiles_;
  Tensor storage_;
  const float* data_;
};

/// Rows x (Vectors · lanes) weights at one tap, which `Samples` samples pass at a time.
template <int Rows, int Vectors, int Samples>
struct Tile {
  static constexpr std::int64_t width = Vectors * lanes;
  static constexpr std::int64_t count = Rows * width;
  using Sums = Vector[Rows][Vectors];

  /// D += Σ over the runs of d_output [pixels, Rows] · input [pixels, width].
  static void multiply(const std::vector<PixelRun>& runs, std::int64_t stride, const float* d_output,
                       const float* input, Sums& d) {
    for (const PixelRun& run : runs) {
      const float* g = d_output + run.out * Rows;
      const float* x = input + run.in * width;
      for (std::int64_t p = 0; p < run.count; ++p, g += Rows, x += stride * width) add_products(g, 1, x, d);
    }
  }

  /// gradients[k] += Σ_n q_nk D_n and dots[n, k] += <D_n, weights[k]>, lane by lane. Shares of a sample's kernels are
  /// `share_stride` apart.
  static void fold(const Sums (&d)[Samples], std::int64_t kernels, const float* shares, std::int64_t share_stride,
                   const float* weights, float* gradients, float* dots) {
    constexpr int parts = 4 / Samples;  // sums that do not wait for each other
    for (std::int64_t k = 0; k < kernels; ++k) {
      Vector share[Samples], sums[Samples][parts] = {};
      for (int n = 0; n < Samples; ++n) share[n] = shares[(n * kernels + k) * share_stride] - Vector{};
      float* gradient = gradients + k * count;
      const float* weight = weights + k * count;
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
          const int vector = r * Vectors + v;
          Vector sum = vector_at(gradient + vector * lanes);
          Vector w = vector_at(weight + vector * lanes);
          pin(w);
#pragma GCC unroll 2
          for (int n = 0; n < Samples; ++n) {
            sum += share[n] * d[n][r][v];
            sums[n][vector % parts] += d[n][r][v] * w;
          }
          vector_at(gradient + vector * lanes) = sum;
        }
      }
      for (int n = 0; n < Samples; ++n) {
        Vector total = sums[n][0];
        for (int part = 1; part < parts; ++part) total += sums[n][part];
        vector_at(dots + (n * kernels + k) * lanes) += total;
      }
    }
  }

  /// d_output and input of the samples are `output_stride` and `input_stride` apart.
  static void multiply_and_fold(const std::vector<PixelRun>& runs, std::int64_t stride, const float* d_output,
                                std::int64_t output_stride, const float* input, std::int64_t input_stride,
                                std::int64_t kernels, const float* shares, std::int64_t share_stride,
                                const float* weights, float* gradients, float* dots) {
    Sums d[Samples] = {};
#pragma GCC unroll 2
    for (int n = 0; n < Samples; ++n)
      multiply(runs, stride, d_output + n * output_stride, input + n * input_stride, d[n]);
    fold(d, kernels, shares, share_stride, weights, gradients, dots);
  }

  /// gradient += D of one sample.
  static void multiply_and_add(const std::vector<PixelRun>& runs, std::int64_t stride, const float* d_output,
                               const float* input, float* gradient) {
    Sums d = {};
    multiply(runs, stride, d_output, input, d);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) vector_at(gradient + (r * Vectors + v) * lanes) += d[r][v];
  }
};

/// Calls visit(row of the tile, weights of one (k, o) at the tap, their count) for the rows that exist.
template <int Rows, class Weight, class Visit>
void for_each_row(const ConvShape& shape, std::int64_t kernels, std::int64_t first_out, std::int64_t first_in,
                  std::int64_t width, std::int64_t tap, Weight* weight, const Visit& visit) {
  const std::int64_t rows = std::min<std::int64_t>(Rows, shape.out_channels - first_out);
  const std::int64_t count = std::min(width, shape.in_channels - first_in);
  for (std::int64_t k = 0; k < kernels; ++k)
    for (std::int64_t r = 0; r < rows; ++r)
      visit(k * Rows + r,
            weight + ((k * shape.out_channels + first_out + r) * shape.taps() + tap) * shape.in_channels + first_in,
            count);
}

template <int Rows, int Vectors, int Samples>
void folded_gradient(const ConvShape& shape, const Attention& attention, const float* input, const float* weight,
                     const float* d_output, float* d_weight, bool accumulate, float* weighted_kst) {
  using Tiling = Tile<Rows, Vectors, Samples>;
  const std::int64_t samples = shape.samples, kernels = attention.kernels, taps = shape.taps();
  const bool per_sample = weighted_kst || attention.spatial || attention.kernel;
  const Blocked<Rows> out(d_output, attention.filter, samples, shape.out_pixels(), shape.out_channels);
  const Blocked<Tiling::width> in(input, attention.channel, samples, shape.in_pixels(), shape.in_channels);
  const std::int64_t sample_bytes = in.sample_count() * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t chunk = std::clamp<std::int64_t>(chunk_bytes / sample_bytes, 1, samples);

  const std::vector<std::vector<PixelRun>> runs = pixel_runs(shape);

  const std::vector<float> shares = per_sample ? all_shares(shape, attention) : std::vector<float>();

  const std::int64_t wanted_ranges = std::clamp<std::int64_t>(wanted_units / taps, 1, out.tiles());
  const std::int64_t range = (out.tiles() + wanted_ranges - 1) / wanted_ranges;  // tiles of output channels in a unit
  const std::int64_t ranges = (out.tiles() + range - 1) / range;
  Tensor range_dots;  // [ranges, taps, N, K]: <D, W_k>
  if (weighted_kst) range_dots = Tensor::empty({ranges, taps, samples, kernels}, DType::f32);
  // So many tiles that their weights and gradients stay in the first-level cache beside the input of a sample.
  const std::int64_t tile_bytes = 2 * kernels * Tiling::count * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t block =
      std::clamp<std::int64_t>((first_level_bytes - Samples * sample_bytes) / tile_bytes, 1, range);
  const std::int64_t dot_count = per_sample ? samples * kernels * lanes : 0;

  parallel_units(ranges * taps, [&](std::int64_t unit) {
    const std::int64_t tap = unit % taps;
    const std::int64_t first_tile = unit / taps * range, last_tile = std::min(first_tile + range, out.tiles());
    const std::vector<PixelRun>& tap_runs = runs[static_cast<std::size_t>(tap)];
    const std::int64_t tile_count = kernels * Tiling::count;
    float* weights = ThreadScratch::get(ThreadScratch::source, block * tile_count);
    float* gradients = ThreadScratch::get(ThreadScratch::gradient, block * tile_count);
    float* dots = ThreadScratch::get(ThreadScratch::destination, dot_count);
    std::fill(dots, dots + dot_count, 0.0f);
    std::fill(weights, weights + block * tile_count, 0.0f);
    for (std::int64_t in_tile = 0; in_tile < in.tiles(); ++in_tile)
      for (std::int64_t first = 0; first < samples; first += chunk)
        for (std::int64_t first_out = first_tile; first_out < last_tile; first_out += block) {
          const std::int64_t last = std::min(first + chunk, samples);
          const std::int64_t last_out = std::min(first_out + block, last_tile);
          const auto for_each_row_of = [&](std::int64_t out_tile, auto* values, const auto& visit) {
            for_each_row<Rows>(shape, kernels, out_tile * Rows, in_tile * Tiling::width, Tiling::width, tap, values,
                               visit);
          };
          std::fill(gradients, gradients + block * tile_count, 0.0f);
          for (std::int64_t tile = first_out; tile < last_out; ++tile) {
            if (weighted_kst)
              for_each_row_of(tile, weight, [&](std::int64_t row, const float* from, std::int64_t count) {
                std::copy(from, from + count, weights + (tile - first_out) * tile_count + row * Tiling::width);
              });
            if (tile + block >= last_tile) continue;
            const auto prefetch = [&](std::int64_t, const float* row, std::int64_t count) {
              for (std::int64_t j = 0; j < count; j += lanes) __builtin_prefetch(row + j, 0, 2);
            };
            if (weighted_kst) for_each_row_of(tile + block, weight, prefetch);
            if (d_weight) for_each_row_of(tile + block, d_weight, prefetch);
          }
          const auto pass = [&]<class T>(T, std::int64_t n) {
            for (std::int64_t tile = first_out; tile < last_out; ++tile) {
              float* gradient = gradients + (tile - first_out) * tile_count;
              if (per_sample)
                T::multiply_and_fold(tap_runs, shape.params.stride, out.at(tile, n), out.sample_count(),
                                     in.at(in_tile, n), in.sample_count(), kernels,
                                     shares.data() + n * kernels * taps + tap, taps,
                                     weights + (tile - first_out) * tile_count, gradient, dots + n * kernels * lanes);
              else
                T::multiply_and_add(tap_runs, shape.params.stride, out.at(tile, n), in.at(in_tile, n), gradient);
            }
          };
          std::int64_t n = first;
          if (per_sample)
            for (; n + Samples <= last; n += Samples) pass(Tiling{}, n);
          for (; n < last; ++n) pass(Tile<Rows, Vectors, 1>{}, n);
          if (!d_weight) continue;
          const bool add = accumulate || first > 0;
          for (std::int64_t tile = first_out; tile < last_out; ++tile)
            for_each_row_of(tile, d_weight, [&](std::int64_t row, float* to, std::int64_t count) {
              const float* from = gradients + (tile - first_out) * tile_count + row * Tiling::width;
              if (add) {
                for (std::int64_t j = 0; j < count; ++j) to[j] += from[j];
              } else {
                std::copy(from, from + count, to);
              }
            });
        }
    if (weighted_kst) sum_lanes(dots, samples * kernels, range_dots.data<float>() + unit * samples * kernels);
  });

  if (!weighted_kst) return;
  for (std::int64_t n = 0; n < samples; ++n)
    for (std::int64_t k = 0; k < kernels; ++k)
      for (std::int64_t t = 0; t < taps; ++t) {
        float sum = 0;
        for (std::int64_t r = 0; r < ranges; ++r)
          sum += range_dots.data<float>()[((r * taps + t) * samples + n) * kernels + k];
        const std::int64_t index = (n * kernels + k) * taps + t;
        weighted_kst[index] = shares[static_cast<std::size_t>(index)] * sum;
      }
}

}  // namespace

void folded_weight_gradient(const ConvShape& shape, const Attention& attention, const float* input, const float* weight,
                            const float* d_output, float* d_weight, bool accumulate, float* weighted_kst) {
  // Sixteen accumulators each: enough to hide the latency of an FMA, few enough for the registers. Where 64 channels of
  // a sample's input are too many for the first-level cache, more rows share what is read of it. Where a sample has few
  // pixels, folding costs as much as multiplying: two samples at a time then share its reads and writes.
  const bool spills = shape.in_pixels() * 4 * lanes * static_cast<std::int64_t>(sizeof(float)) > first_level_bytes;
  const bool pairs = shape.out_pixels() <= 64 && (attention.spatial || attention.kernel);
  const auto compute = shape.in_channels <= lanes                 ? folded_gradient<16, 1, 1>
                       : shape.in_channels <= 2 * lanes || spills ? folded_gradient<8, 2, 1>
                       : pairs                                    ? folded_gradient<2, 4, 2>
                                                                  : folded_gradient<4, 4, 1>;
  compute(shape, attention, input, weight, d_output, d_weight, accumulate, weighted_kst);
}

}  // namespace omniconv::conv
