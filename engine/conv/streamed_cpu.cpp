#include "engine/conv/streamed_cpu.h"

#include <algorithm>
#include <array>
#include <utility>
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

constexpr int most_pixels = 16;
constexpr int most_kernels = 4;
constexpr std::int64_t samples_per_unit = 32;
// Source channels whose kernels stay in the first-level cache while the samples of a unit pass.
constexpr std::int64_t block_channels = 32;

/// For a tap the pixels of a result that it contributes to, a bit each.
using Pixels = unsigned;
constexpr Pixels all_pixels = (1u << most_pixels) - 1;

// How far ahead kernels are asked for that are read from memory once: the machine foresees them to the next page only.
constexpr int floats_ahead = 768;

/// sums [16 pixels, 16 channels] += Σ_i (Σ_k q_k ⊙ W_k) x of one group of taps, which reach `Reached` each. Kernels and
/// columns [channels, taps of the group, 16]; q of the first kernel begins at shares, that of the next `share_stride`
/// later.
template <int Kernels, int Ahead, Pixels... Reached>
void multiply(std::int64_t channels, const float* columns, const float* packed, std::int64_t stride,
              const float* shares, std::int64_t share_stride, float* sums) {
  constexpr int taps = sizeof...(Reached);
  constexpr Pixels reached[taps] = {Reached...};
  Vector q[taps][Kernels];
  for (int t = 0; t < taps; ++t)
    for (int k = 0; k < Kernels; ++k) q[t][k] = shares[k * share_stride + t] - Vector{};
  Vector local[most_pixels];  // in registers
#pragma GCC unroll 16
  for (int p = 0; p < most_pixels; ++p) local[p] = vector_at(sums + p * lanes);
  for (std::int64_t i = 0; i < channels; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < taps; ++t, packed += lanes, columns += most_pixels) {
      if (Ahead > 0)
        for (int k = 0; k < Kernels; ++k) __builtin_prefetch(packed + k * stride + Ahead, 0, 2);
      Vector weights = q[t][0] * vector_at(packed);
#pragma GCC unroll 4
      for (int k = 1; k < Kernels; ++k) weights += q[t][k] * vector_at(packed + k * stride);
#pragma GCC unroll 16
      for (int p = 0; p < most_pixels; ++p)
        if (reached[t] >> p & 1) local[p] += weights * columns[p];
    }
#pragma GCC unroll 16
  for (int p = 0; p < most_pixels; ++p) vector_at(sums + p * lanes) = local[p];
}

/// The pixels of a 4x4 result whose neighbour `down` and `right` of them exists.
constexpr Pixels with_neighbour(int down, int right) {
  Pixels pixels = 0;
  for (int h = 0; h < 4; ++h)
    for (int w = 0; w < 4; ++w)
      if (h + down >= 0 && h + down < 4 && w + right >= 0 && w + right < 4) pixels |= 1u << (h * 4 + w);
  return pixels;
}

using Multiply = void (*)(std::int64_t, const float*, const float*, std::int64_t, const float*, std::int64_t, float*);

/// multiply for each row of taps of a 3x3 kernel on 4x4 pixels, and for any tap of any kernel. A tap above reads the
/// neighbour above: for Sign = -1, the data gradient, the one below.
template <int Kernels, int Sign, int Ahead>
constexpr std::array<Multiply, 4> multiplies = {
    multiply<Kernels, Ahead, with_neighbour(-Sign, -Sign), with_neighbour(-Sign, 0), with_neighbour(-Sign, Sign)>,
    multiply<Kernels, Ahead, with_neighbour(0, -Sign), with_neighbour(0, 0), with_neighbour(0, Sign)>,
    multiply<Kernels, Ahead, with_neighbour(Sign, -Sign), with_neighbour(Sign, 0), with_neighbour(Sign, Sign)>,
    multiply<Kernels, Ahead, all_pixels>,
};
template <int Sign, int Ahead>
constexpr std::array<std::array<Multiply, 4>, most_kernels> by_kernels = {
    multiplies<1, Sign, Ahead>, multiplies<2, Sign, Ahead>, multiplies<3, Sign, Ahead>, multiplies<4, Sign, Ahead>};

/// What the shape allows to unroll.
bool is_3x3_on_4x4(const ConvShape& shape) {
  return shape.kernel_height == 3 && shape.kernel_width == 3 && shape.height == 4 && shape.width == 4 &&
         shape.params == Conv2dParams{1, 1, 1, 1};
}

std::int64_t taps_of_group(const ConvShape& shape) {
  return is_3x3_on_4x4(shape) ? 3 : 1;
}

/// For each group of taps the source pixels that meet each of its taps, scaled: [N, groups, source channels, taps of a
/// group, 16 pixels]; where there are none zero, or undefined where multiply leaves them out. source [N, pixels,
/// channels], scale [N, channels] or nullptr.
Tensor columns_of(const ConvShape& shape, Direction direction, const float* source, const float* scale) {
  const ConvPass pass(shape, direction);
  const std::int64_t channels = pass.source_channels, group = taps_of_group(shape);
  const std::int64_t groups = shape.taps() / group, tap_stride = group * most_pixels;
  const Tensor columns = Tensor::empty({shape.samples, groups, channels, group, most_pixels}, DType::f32);
  const std::vector<std::vector<PixelRun>> runs = pixel_runs(shape);
  parallel_units(shape.samples * groups, [&](std::int64_t index) {
    const std::int64_t n = index / groups;
    const float* factors = scale ? scale + n * channels : nullptr;
    float* first = columns.data<float>() + index * channels * tap_stride;
    if (!is_3x3_on_4x4(shape)) std::fill_n(first, channels * tap_stride, 0.0f);  // else read only where there is one
    for (std::int64_t t = 0; t < group; ++t, first += most_pixels)
      for (const PixelRun& run : runs[static_cast<std::size_t>(index % groups * group + t)])
        for (std::int64_t j = 0; j < run.count; ++j) {
          std::int64_t from = run.in + j * shape.params.stride, to = run.out + j;
          if (direction == Direction::data_gradient) std::swap(from, to);
          const float* x = source + (n * pass.source_pixels() + from) * channels;
          for (std::int64_t i = 0; i < channels; ++i) first[i * tap_stride + to] = factors ? x[i] * factors[i] : x[i];
        }
  });
  return columns;
}

/// Kernels as they are [K, O, R, S, I], or packed beforehand.
struct Kernels {
  const float* weight;
  const float* packed;
};

void stream(const ConvShape& shape, Direction direction, const Attention& attention, const Tensor& columns,
            const Kernels& of, const Target& target) {
  const ConvPass pass(shape, direction);
  const std::int64_t kernels = attention.kernels, channels = pass.source_channels, taps = shape.taps();
  const std::int64_t panels = pass.channels / lanes, group = taps_of_group(shape);
  const std::int64_t panel_count = taps * channels * lanes, columns_count = columns.count() / shape.samples;
  const std::int64_t units = (shape.samples + samples_per_unit - 1) / samples_per_unit;
  const std::vector<float> shares = all_shares(shape, attention);
  const auto& of_direction = direction == Direction::data_gradient ? by_kernels<-1, 0>
                             : of.packed                           ? by_kernels<1, floats_ahead>
                                                                   : by_kernels<1, 0>;
  const std::array<Multiply, 4>& multiply = of_direction[static_cast<std::size_t>(kernels - 1)];

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
          multiply[static_cast<std::size_t>(group == 3 ? g : 3)](
              piece.sources.count, columns.data<float>() + n * columns_count + row * most_pixels, weights, stride,
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
  return direction != Direction::weight_gradient && shape.params.groups == 1 && pass.pixels() <= most_pixels &&
         pass.channels % lanes == 0 && kernels >= 1 && kernels <= most_kernels;
}

Tensor pack_streamed(const ConvShape& shape, std::int64_t kernels, const float* weight) {
  return pack_panels(shape, Direction::forward, lanes, taps_of_group(shape), kernels, weight);
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
