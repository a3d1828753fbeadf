#include "engine/conv/streamed_cpu.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "engine/conv/attention_parts_cpu.h"
#include "engine/conv/panels_cpu.h"
#include "engine/conv/streamed_window_cpu.h"
#include "engine/conv/target_cpu.h"
#include "engine/library/parallel_cpu.h"

namespace omniconv::conv {

namespace {

using library::parallel_units;
using library::ThreadScratch;
using Attention = AttentionValues<float>;

constexpr std::int64_t samples_per_unit = 32;
// Source channels whose kernels stay in the first-level cache while the samples of a unit pass.
constexpr std::int64_t block_channels = 32;

// How far ahead kernels are asked for that are read from memory once: the machine foresees them to the next page only.
constexpr int floats_ahead = 768;

/// sums [16 pixels, 16 channels] += Σ_i (Σ_k q_k ⊙ W_k) x of a group of taps. Kernels [channels, taps of the group,
/// 16], columns [channels, pixels of the window]; q of the first kernel begins at shares, that of the next
/// `share_stride` later.
template <int Kernels, int Ahead, Window window, Tap... Group>
void multiply(std::int64_t channels, const float* columns, const float* packed, std::int64_t stride,
              const float* shares, std::int64_t share_stride, float* sums) {
  constexpr int taps = sizeof...(Group);
  constexpr Tap group[taps] = {Group...};
  Vector q[taps][Kernels];
  for (int t = 0; t < taps; ++t)
    for (int k = 0; k < Kernels; ++k) q[t][k] = shares[k * share_stride + t] - Vector{};
  Vector local[most_pixels];  // in registers
#pragma GCC unroll 16
  for (int p = 0; p < most_pixels; ++p) local[p] = vector_at(sums + p * lanes);
  for (std::int64_t i = 0; i < channels; ++i, columns += window.pixels())
#pragma GCC unroll 3
    for (int t = 0; t < taps; ++t, packed += lanes) {
      if (Ahead > 0)
        for (int k = 0; k < Kernels; ++k) __builtin_prefetch(packed + k * stride + Ahead, 0, 2);
      Vector weights = q[t][0] * vector_at(packed);
#pragma GCC unroll 4
      for (int k = 1; k < Kernels; ++k) weights += q[t][k] * vector_at(packed + k * stride);
#pragma GCC unroll 16
      for (int p = 0; p < most_pixels; ++p)
        if (group[t].reaches(window, p)) local[p] += weights * columns[group[t].source(window, p)];
    }
#pragma GCC unroll 16
  for (int p = 0; p < most_pixels; ++p) vector_at(sums + p * lanes) = local[p];
}

using Multiply = void (*)(std::int64_t, const float*, const float*, std::int64_t, const float*, std::int64_t, float*);
using ByGroup = std::array<Multiply, 3>;

/// multiply for each row of taps of a 3x3 kernel. A tap above reads the neighbour above: for Sign = -1, the data
/// gradient, the one below.
template <int Kernels, Window window, int Sign, int Ahead>
constexpr ByGroup rows_of_taps = {
    multiply<Kernels, Ahead, window, Tap{-Sign, -Sign}, Tap{-Sign, 0}, Tap{-Sign, Sign}>,
    multiply<Kernels, Ahead, window, Tap{0, -Sign}, Tap{0, 0}, Tap{0, Sign}>,
    multiply<Kernels, Ahead, window, Tap{Sign, -Sign}, Tap{Sign, 0}, Tap{Sign, Sign}>,
};
/// multiply for any tap of any kernel, whose columns are those of the result.
template <int Kernels, int Ahead>
constexpr ByGroup single_tap = {multiply<Kernels, Ahead, same_extent, Tap{0, 0}>};

template <Window window, int Sign, int Ahead>
constexpr std::array<ByGroup, most_kernels> unrolled = {
    rows_of_taps<1, window, Sign, Ahead>, rows_of_taps<2, window, Sign, Ahead>, rows_of_taps<3, window, Sign, Ahead>,
    rows_of_taps<4, window, Sign, Ahead>};
template <int Ahead>
constexpr std::array<ByGroup, most_kernels> general = {single_tap<1, Ahead>, single_tap<2, Ahead>, single_tap<3, Ahead>,
                                                       single_tap<4, Ahead>};

std::int64_t taps_of_group(const std::optional<Window>& window) {
  return window ? 3 : 1;
}

const ByGroup& multiplies(const std::optional<Window>& window, Direction direction, std::int64_t kernels, bool ahead) {
  const auto k = static_cast<std::size_t>(kernels - 1);
  if (!window) return (ahead ? general<floats_ahead> : general<0>)[k];
  if (direction == Direction::data_gradient) return unrolled<same_extent, -1, 0>[k];
  if (*window == same_extent) return (ahead ? unrolled<same_extent, 1, floats_ahead> : unrolled<same_extent, 1, 0>)[k];
  return (ahead ? unrolled<twice_the_extent, 1, floats_ahead> : unrolled<twice_the_extent, 1, 0>)[k];
}

/// The source, scaled, as multiply reads it. source [N, pixels, channels], scale [N, channels] or nullptr.
struct Columns {
  Tensor values;  // [N, groups or 1, source channels, pixels]
  std::int64_t group_stride, sample_stride;

  const float* at(std::int64_t n, std::int64_t group) const {
    return values.data<float>() + n * sample_stride + group * group_stride;
  }
};

Columns columns_of(const ConvShape& shape, Direction direction, const float* source, const float* scale) {
  const ConvPass pass(shape, direction);
  const std::int64_t channels = pass.source_channels;
  if (window_of(shape, direction))  // all pixels; multiply knows which of them meet
    return {channel_major(shape.samples, pass.source_pixels(), channels, source, scale), 0,
            channels * pass.source_pixels()};

  const std::int64_t taps = shape.taps(), stride = channels * most_pixels;
  Columns columns{Tensor::zeros({shape.samples, taps, channels, most_pixels}, DType::f32), stride, taps * stride};
  const std::vector<std::vector<PixelRun>> runs = pixel_runs(shape);
  parallel_units(shape.samples * taps, [&](std::int64_t index) {
    const std::int64_t n = index / taps;
    float* first = columns.values.data<float>() + index * stride;
    for (const PixelRun& run : runs[static_cast<std::size_t>(index % taps)])
      for (std::int64_t j = 0; j < run.count; ++j) {
        std::int64_t from = run.in + j * shape.params.stride, to = run.out + j;
        if (direction == Direction::data_gradient) std::swap(from, to);
        const float* x = source + (n * pass.source_pixels() + from) * channels;
        const float* factors = scale ? scale + n * channels : nullptr;
        for (std::int64_t i = 0; i < channels; ++i) first[i * most_pixels + to] = factors ? x[i] * factors[i] : x[i];
      }
  });
  return columns;
}

/// Kernels as they are [K, O, R, S, I], or packed beforehand.
struct Kernels {
  const float* weight;
  const float* packed;
};

void stream(const ConvShape& shape, Direction direction, const Attention& attention, const Columns& columns,
            const Kernels& of, const Target& target) {
  const ConvPass pass(shape, direction);
  const std::optional<Window> window = window_of(shape, direction);
  const std::int64_t kernels = attention.kernels, channels = pass.source_channels, taps = shape.taps();
  const std::int64_t panels = pass.channels / lanes, group = taps_of_group(window);
  const std::int64_t panel_count = taps * channels * lanes;
  const std::int64_t column_count = window ? window->pixels() : most_pixels;
  const std::int64_t units = (shape.samples + samples_per_unit - 1) / samples_per_unit;
  const std::vector<float> shares = all_shares(shape, attention);
  const ByGroup& multiply = multiplies(window, direction, kernels, of.packed != nullptr);

  parallel_units(panels * units, [&](std::int64_t unit) {
    const std::int64_t panel = unit / units, first = unit % units * samples_per_unit;
    const std::int64_t last = std::min(first + samples_per_unit, shape.samples);
    constexpr std::int64_t sum_count = most_pixels * lanes;
    float* sums = ThreadScratch::get(ThreadScratch::destination, samples_per_unit * sum_count);
    std::fill_n(sums, samples_per_unit * sum_count, 0.0f);
    float* block = ThreadScratch::get(ThreadScratch::aggregated, kernels * block_channels * group * lanes);
    for (std::int64_t g = 0; g < taps / group; ++g)
      for (std::int64_t i = 0; i < channels; i += block_channels) {
        const PanelPiece piece{{panel * lanes, lanes}, {g * group, group}, {i, std::min(block_channels, channels - i)}};
        const std::int64_t row = (g * channels + i) * group;
        const float* weights = block;
        std::int64_t stride = piece.size();
        if (of.packed) {
          weights = of.packed + panel * kernels * panel_count + row * lanes;
          stride = panel_count;
        } else {
          for (std::int64_t k = 0; k < kernels; ++k)
            pack_piece(shape, direction, piece, of.weight + k * shape.weight_count(), block + k * stride);
        }
        for (std::int64_t n = first; n < last; ++n)
          multiply[static_cast<std::size_t>(window ? g : 0)](
              piece.sources.count, columns.at(n, g) + i * column_count, weights, stride,
              shares.data() + n * kernels * taps + g * group, taps, sums + (n - first) * sum_count);
      }
    for (std::int64_t n = first; n < last; ++n) {
      TargetLanes to(target, n, pass.pixels(), pass.channels, panel * lanes);
      for (std::int64_t p = 0; p < pass.pixels(); ++p)
        to.write(p, vector_at(sums + (n - first) * sum_count + p * lanes));
      to.finish();
    }
  });
}

}  // namespace

bool streams(const ConvShape& shape, std::int64_t kernels, Direction direction) {
  const ConvPass pass(shape, direction);
  return shape.params.groups == 1 && pass.pixels() <= most_pixels && pass.channels % lanes == 0 && kernels >= 1 &&
         kernels <= most_kernels;
}

Tensor pack_streamed(const ConvShape& shape, std::int64_t kernels, const float* weight) {
  return pack_panels(shape, Direction::forward, lanes, taps_of_group(window_of(shape, Direction::forward)), kernels,
                     weight);
}

void streamed_forward(const ConvShape& shape, const Attention& attention, const float* input, const Tensor& packed,
                      const Epilogue<float>& epilogue, float* output) {
  stream(shape, Direction::forward, attention, columns_of(shape, Direction::forward, input, attention.channel),
         {nullptr, packed.data<float>()}, {.values = output, .scale = attention.filter, .epilogue = epilogue});
}

void streamed_forward(const ConvShape& shape, const Attention& attention, const float* input, const float* weight,
                      float* output) {
  stream(shape, Direction::forward, attention, columns_of(shape, Direction::forward, input, attention.channel),
         {weight, nullptr}, {.values = output, .scale = attention.filter});
}

void streamed_data_gradient(const ConvShape& shape, const Attention& attention, const float* input, const float* weight,
                            const float* d_output, float* d_input, bool accumulate, float* weighted_channel) {
  constexpr Direction direction = Direction::data_gradient;
  stream(shape, direction, attention, columns_of(shape, direction, d_output, attention.filter), {weight, nullptr},
         {.values = d_input,
          .scale = attention.channel,
          .accumulate = accumulate,
          .reference = input,
          .dots = weighted_channel});
}

}  // namespace omniconv::conv
