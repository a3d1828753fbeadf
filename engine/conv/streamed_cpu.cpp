#include "engine/conv/streamed_cpu.h"

#include <algorithm>
#include <vector>

#include "engine/conv/attention_parts_cpu.h"
#include "engine/conv/vector_cpu.h"
#include "engine/library/parallel_cpu.h"

namespace omniconv::conv {

namespace {

constexpr std::int64_t width = streamed_channels;
static_assert(width == lanes);

template <int Kernels>
void multiply(std::int64_t taps, std::int64_t channels, const float* columns, const float* packed, std::int64_t stride,
              const float* shares, Vector (&sums)[streamed_pixels]) {
  for (std::int64_t t = 0; t < taps; ++t) {
    Vector q[Kernels];
    for (int k = 0; k < Kernels; ++k) q[k] = shares[k * taps + t] - Vector{};
    for (std::int64_t i = 0; i < channels; ++i, packed += width, columns += streamed_pixels) {
      Vector weights = q[0] * vector_at(packed);
      for (int k = 1; k < Kernels; ++k) weights += q[k] * vector_at(packed + k * stride);
#pragma GCC unroll 16
      for (int p = 0; p < streamed_pixels; ++p) sums[p] += weights * columns[p];
    }
  }
}

}  // namespace

bool streams(const ConvShape& shape, std::int64_t kernels) {
  return shape.params.groups == 1 && shape.out_pixels() <= streamed_pixels && kernels <= streamed_kernels;
}

Tensor streamed_columns(const ConvShape& shape, const float* input, const float* channel) {
  const std::int64_t channels = shape.in_channels, taps = shape.taps(), tap_count = channels * streamed_pixels;
  const Tensor columns = Tensor::empty({shape.samples, taps, channels, streamed_pixels}, DType::f32);
  const std::vector<std::vector<PixelRun>> runs = pixel_runs(shape);
  library::parallel_units(shape.samples * taps, [&](std::int64_t index) {
    const std::int64_t n = index / taps, t = index % taps;
    const float* c = channel ? channel + n * channels : nullptr;
    float* first = columns.data<float>() + index * tap_count;
    std::fill(first, first + tap_count, 0.0f);
    for (const PixelRun& run : runs[static_cast<std::size_t>(t)])
      for (std::int64_t j = 0; j < run.count; ++j) {
        const float* x = input + (n * shape.in_pixels() + run.in + j * shape.params.stride) * channels;
        float* to = first + run.out + j;
        for (std::int64_t i = 0; i < channels; ++i) to[i * streamed_pixels] = c ? x[i] * c[i] : x[i];
      }
  });
  return columns;
}

void streamed_forward(const ConvShape& shape, std::int64_t kernels, const float* columns, const float* packed,
                      std::int64_t stride, const float* shares, float* result) {
  const std::int64_t taps = shape.taps(), channels = shape.in_channels;
  Vector sums[streamed_pixels] = {};
  switch (kernels) {
    case 1:
      multiply<1>(taps, channels, columns, packed, stride, shares, sums);
      break;
    case 2:
      multiply<2>(taps, channels, columns, packed, stride, shares, sums);
      break;
    case 3:
      multiply<3>(taps, channels, columns, packed, stride, shares, sums);
      break;
    default:
      multiply<4>(taps, channels, columns, packed, stride, shares, sums);
      break;
  }
  for (std::int64_t p = 0; p < shape.out_pixels(); ++p)
    for (std::int64_t o = 0; o < width; ++o) result[p * width + o] = sums[p][o];
}

}  // namespace omniconv::conv
