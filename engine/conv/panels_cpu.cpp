#include "engine/conv/panels_cpu.h"

#include <utility>

#include "engine/conv/vector_cpu.h"
#include "engine/library/parallel_cpu.h"

namespace omniconv::conv {

namespace {

/// Exchanges the off-diagonal quarters of all blocks of 2 · Distance rows and lanes.
template <int Distance, int... Lane>
void exchange(Vector (&rows)[lanes], std::integer_sequence<int, Lane...>) {
  for (int r = 0; r < lanes; ++r) {
    if (r & Distance) continue;
    const Vector a = rows[r], b = rows[r + Distance];
    rows[r] = __builtin_shufflevector(a, b, (Lane & Distance ? lanes + Lane - Distance : Lane)...);
    rows[r + Distance] = __builtin_shufflevector(a, b, (Lane & Distance ? lanes + Lane : Lane + Distance)...);
  }
}

void transpose(Vector (&rows)[lanes]) {
  constexpr auto all = std::make_integer_sequence<int, lanes>{};
  exchange<8>(rows, all);
  exchange<4>(rows, all);
  exchange<2>(rows, all);
  exchange<1>(rows, all);
}

/// to[j][r] = from[r][j] for 16 rows.
void transpose(const float* from, std::int64_t from_stride, std::int64_t columns, float* to, std::int64_t to_stride) {
  std::int64_t j = 0;
  for (; j + lanes <= columns; j += lanes) {
    Vector block[lanes];
    for (int r = 0; r < lanes; ++r) block[r] = vector_at(from + r * from_stride + j);
    transpose(block);
    for (int r = 0; r < lanes; ++r) vector_at(to + (j + r) * to_stride) = block[r];
  }
  for (; j < columns; ++j)
    for (int r = 0; r < lanes; ++r) to[j * to_stride + r] = from[r * from_stride + j];
}

}  // namespace

ConvPass::ConvPass(const ConvShape& s, Direction direction)
    : source_height(s.height),
      source_width(s.width),
      source_channels(s.in_channels),
      height(s.out_height()),
      width(s.out_width()),
      channels(s.out_channels) {
  if (direction == Direction::forward) return;
  std::swap(source_height, height);
  std::swap(source_width, width);
  std::swap(source_channels, channels);
}

void pack_piece(const ConvShape& shape, Direction direction, const PanelPiece& piece, const float* weight, float* to) {
  const auto& [channels, taps, sources] = piece;
  const std::int64_t row = shape.in_channels, stride = taps.count * channels.count;
  if (direction == Direction::forward) {
    for (std::int64_t part = 0; part < channels.count; part += lanes)
      for (std::int64_t t = 0; t < taps.count; ++t)
        transpose(weight + ((channels.first + part) * shape.taps() + taps.first + t) * row + sources.first,
                  shape.taps() * row, sources.count, to + t * channels.count + part, stride);
    return;
  }
  for (std::int64_t o = 0; o < sources.count; ++o, to += stride)
    for (std::int64_t t = 0; t < taps.count; ++t) {
      const float* from = weight + ((sources.first + o) * shape.taps() + taps.first + t) * row + channels.first;
      for (std::int64_t c = 0; c < channels.count; c += lanes)
        vector_at(to + t * channels.count + c) = vector_at(from + c);
    }
}

Tensor pack_panels(const ConvShape& shape, Direction direction, std::int64_t width, std::int64_t taps,
                   std::int64_t kernels, const float* weight) {
  const ConvPass pass(shape, direction);
  const std::int64_t panels = pass.channels / width, sources = pass.source_channels;
  const std::int64_t groups = shape.taps() / taps;
  const Tensor packed = Tensor::empty({panels, kernels, groups, sources, taps, width}, DType::f32);
  library::parallel_units(panels * kernels, [&](std::int64_t index) {
    PanelPiece piece{{index / kernels * width, width}, {0, taps}, {0, sources}};
    float* to = packed.data<float>() + index * groups * piece.size();
    for (; piece.taps.first < shape.taps(); piece.taps.first += taps, to += piece.size())
      pack_piece(shape, direction, piece, weight + index % kernels * shape.weight_count(), to);
  });
  return packed;
}

Tensor channel_major(std::int64_t samples, std::int64_t pixels, std::int64_t channels, const float* activations,
                     const float* scale) {
  const Tensor result = Tensor::empty({samples, channels, pixels}, DType::f32);
  library::parallel_units(samples, [&](std::int64_t n) {
    float* to = result.data<float>() + n * channels * pixels;
    for (std::int64_t p = 0; p < pixels; p += lanes)
      transpose(activations + (n * pixels + p) * channels, channels, channels, to + p, pixels);
    if (!scale) return;
    for (std::int64_t i = 0; i < channels; ++i)
      for (std::int64_t p = 0; p < pixels; ++p) to[i * pixels + p] *= scale[n * channels + i];
  });
  return result;
}

}  // namespace omniconv::conv
