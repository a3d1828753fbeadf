// The tensor-core convolution as a product: its operands, and how it is cut into tiles. For .cu files only.
#pragma once

#include <utility>

#include "kernels/conv_shape.h"
#include "kernels/dynamic.h"
#include "kernels/mma_tiles.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels::mma {

inline constexpr int row_warps = 4;      // that take different rows of a tile; two warps each share them
inline constexpr int warp_columns = 32;  // that a warp stores

inline constexpr int max_taps = 64;
// Of images and of the reach of kernels: positions are packed into 16 bits.
inline constexpr int max_extent = 1 << 13;

/// One direction of the convolution as a product. The gathered operand is `source` [N, height, width, inner], the
/// result `target` [N, height, width, columns].
///
/// Rows of the product are the target's pixels, in classes of those that meet the same taps, which strides of the data
/// gradient tell apart: pixel (a, b) of the class (v, w) is the target's (v + a·spread, w + b·spread), and under tap
/// (r, s) lies the source's (a·step + Δh, b·step + Δw).
struct Product {
  bool forward;
  int samples, kernels, in_channels, out_channels;
  int inner, columns;
  int source_height, source_width, target_height, target_width;
  int kernel_height, kernel_width, stride, padding, dilation;

  OMNI_HOST_DEVICE int taps() const { return kernel_height * kernel_width; }
  OMNI_HOST_DEVICE int step() const { return forward ? stride : 1; }
  OMNI_HOST_DEVICE int spread() const { return forward ? 1 : stride; }
  OMNI_HOST_DEVICE int classes() const { return spread() * spread(); }
  OMNI_HOST_DEVICE int class_height(int number) const {
    return (target_height - number / spread() + spread() - 1) / spread();
  }
  OMNI_HOST_DEVICE int class_width(int number) const {
    return (target_width - number % spread() + spread() - 1) / spread();
  }
  /// Pixels of the class that has most.
  OMNI_HOST_DEVICE int class_pixels() const { return class_height(0) * class_width(0); }
  OMNI_HOST_DEVICE int chunks() const { return (inner + depth - 1) / depth; }
};

/// Where tap `r` of one axis looks, from a pixel of class `v` of that axis.
struct AxisTap {
  bool meets;
  int shift;
};
OMNI_HOST_DEVICE inline AxisTap axis_tap(const Product& product, int v, int r) {
  if (product.forward) return {true, r * product.dilation - product.padding};
  const int distance = v + product.padding - r * product.dilation;
  return {distance % product.stride == 0, distance / product.stride};
}

/// The rows of source pixels under `rows` pixels of a class from `first` on: [begin, begin + height).
struct Window {
  int begin, height;
};
OMNI_HOST_DEVICE inline Window window_of(const Product& product, int class_number, int first, int rows) {
  const int width = product.class_width(class_number);
  const int end = product.class_height(class_number) * width;
  if (first >= end) return {0, 0};
  const int last = (first + rows < end ? first + rows : end) - 1;
  int begin = product.source_height, behind = 0;
  for (int r = 0; r < product.kernel_height; ++r) {
    const AxisTap tap = axis_tap(product, class_number / product.spread(), r);
    if (!tap.meets) continue;
    const int top = first / width * product.step() + tap.shift;
    const int bottom = last / width * product.step() + tap.shift + 1;
    begin = top < begin ? top : begin;
    behind = bottom > behind ? bottom : behind;
  }
  begin = begin > 0 ? begin : 0;
  behind = behind < product.source_height ? behind : product.source_height;
  return {begin, behind > begin ? behind - begin : 0};
}

/// A tap that some pixels of a class meet.
struct Tap {
  int number, shift_h, shift_w;
};
/// How a block's rows are made up, and where it aggregates: in shared memory, for a tile of weights that all warps of a
/// sample read, or in the registers of the two warps that a sample has.
template <int Rows, int Samples>
struct Tile {
  static constexpr int samples = Samples;
  static constexpr bool in_registers = Samples == row_warps;
  static constexpr int sample_rows = Rows / Samples;
  static constexpr int warp_rows = Rows / row_warps;
  static constexpr int row_tiles = warp_rows / 16;          // of a warp, each the rows of one matrix
  static constexpr int sample_warps = row_warps / Samples;  // that share a sample's rows
  static_assert(sample_warps >= 1 && warp_rows % 16 == 0);

  static int pixel_tiles(const Product& product) { return (product.class_pixels() + sample_rows - 1) / sample_rows; }
  static int column_tiles(const Product& product) { return (product.columns + tile_columns - 1) / tile_columns; }
};

/// What the block's threads agree on.
struct BlockPlace {
  int first_sample, first_column, first_pixel, class_number;
  int pixel_tile, pixel_tiles;  // over all classes
  Window window;
};
template <class Tiling>
OMNI_DEVICE BlockPlace block_place(const Product& product, int pixel_tiles, int column_tiles) {
  const int number = static_cast<int>(block_index().x);
  BlockPlace place;
  place.pixel_tiles = pixel_tiles * product.classes();
  place.pixel_tile = number % place.pixel_tiles;
  place.class_number = place.pixel_tile / pixel_tiles;
  place.first_pixel = place.pixel_tile % pixel_tiles * Tiling::sample_rows;
  place.first_column = number / place.pixel_tiles % column_tiles * tile_columns;
  place.first_sample = number / place.pixel_tiles / column_tiles * Tiling::samples;
  place.window = window_of(product, place.class_number, place.first_pixel, Tiling::sample_rows);
  return place;
}

/// Lists the taps that the class meets, by the first thread, and counts them in every thread.
OMNI_DEVICE int list_taps(const Product& product, int class_number, Tap* taps) {
  int count = 0;
  for (int r = 0; r < product.kernel_height; ++r) {
    const AxisTap vertical = axis_tap(product, class_number / product.spread(), r);
    for (int s = 0; s < product.kernel_width; ++s) {
      const AxisTap horizontal = axis_tap(product, class_number % product.spread(), s);
      if (!vertical.meets || !horizontal.meets) continue;
      if (thread_rank() == 0) taps[count] = {r * product.kernel_width + s, vertical.shift, horizontal.shift};
      ++count;
    }
  }
  return count;
}
/// A step of the inner dimension: `depth` channels under one tap.
struct Step {
  int chunk = 0, tap = 0;

  OMNI_DEVICE void advance(int taps) {
    if (++tap < taps) return;
    tap = 0;
    ++chunk;
  }
};
inline Product product_of(const ConvShape& shape, std::int64_t kernels, bool forward) {
  const ConvShape& s = shape;
  Product product{.forward = forward,
                  .samples = narrow(s.samples),
                  .kernels = narrow(kernels),
                  .in_channels = narrow(s.in_channels),
                  .out_channels = narrow(s.out_channels),
                  .inner = narrow(s.in_channels),
                  .columns = narrow(s.out_channels),
                  .source_height = narrow(s.height),
                  .source_width = narrow(s.width),
                  .target_height = narrow(s.out_height()),
                  .target_width = narrow(s.out_width()),
                  .kernel_height = narrow(s.kernel_height),
                  .kernel_width = narrow(s.kernel_width),
                  .stride = narrow(s.params.stride),
                  .padding = narrow(s.params.padding),
                  .dilation = narrow(s.params.dilation)};
  if (!forward) {
    std::swap(product.inner, product.columns);
    std::swap(product.source_height, product.target_height);
    std::swap(product.source_width, product.target_width);
  }
  return product;
}
}  // namespace omniconv::kernels::mma
