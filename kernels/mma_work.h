// What the blocks of the tensor-core convolution do around their products: memory, copies, tables, epilogue. For .cu
// files only.
#pragma once

#include "kernels/half.h"
#include "kernels/mma_product.h"
#include "kernels/simt/tensor_core.h"

namespace omniconv::kernels::mma {

inline constexpr int zero_lines = 8;          // as many as swizzling tells apart
inline constexpr int nowhere = 0x7000 << 16;  // the position of rows behind the last pixel, outside of every image

/// How a launch lays out its blocks and their memory.
struct Layout {
  int pixel_tiles, column_tiles, source_pixels, source_buffers;
  std::int64_t padded_pixels;  // of a sample and class: what the tiles cover
  std::size_t shared_bytes;
};

/// What lies in shared memory, in its order.
template <class Half, class Tiling>
struct Shared {
  float* shares;  // q [samples, K, taps]
  float* scale;   // c or f [samples, chunks · depth]
  float* dots;    // C [row_warps, tile_columns]
  float* halves;  // what the two warps of a sample exchange of a row tile, where they aggregate in registers
  Tap* taps;
  Half* zeros;    // [zero_lines, depth]: source pixels in the padding
  Half* weights;  // aggregated [2, samples, tile], but for those that are in registers
  Half* kernels;  // [stages, K, tile]
  Half* source;   // [source_buffers, samples, window pixels, depth]

  static constexpr int weight_count = Tiling::in_registers ? 0 : 2 * Tiling::samples * tile_weights;
  static constexpr int half_count = Tiling::in_registers ? threads * 16 : 0;

  OMNI_DEVICE Shared(const Product& product, int source_pixels, int source_buffers) {
    SharedMemory memory;
    shares = memory.array<float>(Tiling::samples * product.kernels * product.taps());
    scale = memory.array<float>(Tiling::samples * product.chunks() * depth);
    dots = memory.array<float>(row_warps * tile_columns);
    halves = memory.array<float>(half_count);
    taps = memory.array<Tap>(max_taps);
    zeros = memory.array<Half>(zero_lines * depth);
    weights = memory.array<Half>(weight_count);
    kernels = memory.array<Half>(stages * product.kernels * tile_weights);
    source = memory.array<Half>(source_buffers * Tiling::samples * source_pixels * depth);
  }

  static std::size_t bytes(const Product& product, int source_pixels, int source_buffers) {
    const auto count = [](auto... factors) { return (std::size_t{1} * ... * static_cast<std::size_t>(factors)); };
    return SharedSize{}
        .array<float>(count(Tiling::samples, product.kernels, product.taps()))
        .template array<float>(count(Tiling::samples, product.chunks(), depth))
        .template array<float>(row_warps * tile_columns)
        .template array<float>(half_count)
        .template array<Tap>(max_taps)
        .template array<Half>(zero_lines * depth)
        .template array<Half>(weight_count)
        .template array<Half>(count(stages, product.kernels, tile_weights))
        .template array<Half>(count(source_buffers, Tiling::samples, source_pixels, depth))
        .bytes();
  }
};

/// Fills the tables of shares and scales, and the lines of zeros; absent attention and absent samples are ones.
template <class Half, class Tiling>
OMNI_DEVICE void fill_tables(const Product& product, const AttentionValues<float>& attention, int first_sample,
                             const Shared<Half, Tiling>& shared) {
  const int taps = product.taps(), shares = product.kernels * taps, scales = product.chunks() * depth;
  for (int g = 0; g < Tiling::samples; ++g) {
    const std::int64_t n = first_sample + g;
    const bool present = n < product.samples;
    for (int i = thread_rank(); i < shares; i += threads) {
      float share = present && attention.kernel ? attention.kernel[n * product.kernels + i / taps] : 1.0f;
      if (present && attention.spatial) share *= attention.spatial[n * taps + i % taps];
      shared.shares[g * shares + i] = share;
    }
    const float* const scale = product.forward ? attention.channel : attention.filter;
    for (int i = thread_rank(); i < scales; i += threads)
      shared.scale[g * scales + i] = present && scale && i < product.inner ? scale[n * product.inner + i] : 1.0f;
  }
  for (int i = thread_rank(); i < zero_lines * depth; i += threads) shared.zeros[i] = Half(0.0f);
}

/// Starts the copies of `depth` channels of the window of source pixels of every sample.
template <class Half, class Tiling>
OMNI_DEVICE void fetch_source(const Product& product, const BlockPlace& place, int chunk, const Half* source,
                              Half* to) {
  constexpr int line_pieces = depth / piece;
  const int pixels = place.window.height * product.source_width;
  for (int g = 0; g < Tiling::samples; ++g) {
    const std::int64_t n = place.first_sample + g;
    const Half* const first =
        source + (n * product.source_height + place.window.begin) * product.source_width * product.inner;
    for (int i = thread_rank(); i < pixels * line_pieces; i += threads) {
      const int channel = chunk * depth + i % line_pieces * piece;
      const bool valid = n < product.samples && channel < product.inner;
      const Half* const from = first + (i / line_pieces * product.inner + channel);
      copy_async<16>(to + swizzled<line_pieces>(g * pixels + i / line_pieces, i % line_pieces), valid ? from : source,
                     valid);
    }
  }
}

/// The piece of the tile of weights that a thread brings and aggregates.
struct WeightPiece {
  int line, piece_of_line;

  template <bool Forward>
  OMNI_DEVICE static WeightPiece of_this_thread() {
    return {thread_rank() / weight_line_pieces<Forward>, thread_rank() % weight_line_pieces<Forward>};
  }
};

/// Starts the copies of the thread's piece of a step's tile of all kernels.
template <class Half, bool Forward>
OMNI_DEVICE void fetch_kernels(const Product& product, int first_column, int chunk, int tap, const Half* weight,
                               Half* to) {
  const auto own = WeightPiece::of_this_thread<Forward>();
  const int o = (Forward ? first_column : chunk * depth) + own.line;
  const int i = (Forward ? chunk * depth : first_column) + own.piece_of_line * piece;
  const bool valid = o < product.out_channels && i < product.in_channels;
  const int kernel_stride = valid ? product.out_channels * product.taps() * product.in_channels : 0;
  const Half* from = weight + (valid ? (o * product.taps() + tap) * product.in_channels + i : 0);
  to += swizzled<weight_line_pieces<Forward>>(own.line, own.piece_of_line);
  for (int k = 0; k < product.kernels; ++k, to += tile_weights, from += kernel_stride) copy_async<16>(to, from, valid);
}
/// What the epilogue does with the sums.
template <class Half>
struct Result {
  Half* target;
  const Half* input;  // for C, or nullptr
  float* dots;        // [N, pixel tiles, columns]
  bool accumulate;
  float* moments;  // [N, pixel tiles, 2, columns] of the target, forward; or nullptr
};

/// Rounds and stores the sums of the warp's rows and of its half of the columns, scaled per column, and folds them with
/// the input into C, or leaves the moments of what it has stored.
template <class Half, class Tiling, bool Forward>
OMNI_DEVICE void store(const Product& product, const AttentionValues<float>& attention, const BlockPlace& place,
                       const Result<Half>& result, Vec<float, 4> (&sums)[Tiling::row_tiles][4], float* shared_dots) {
  const int row_warp = warp_index() % row_warps, column_warp = warp_index() / row_warps;
  const int group = lane_index() / 4, pair = lane_index() % 4 * 2;
  const std::int64_t n = place.first_sample + row_warp / Tiling::sample_warps;
  const bool present = n < product.samples;
  const int width = product.class_width(place.class_number);
  const int end = present ? width * product.class_height(place.class_number) : 0;
  const float* const attention_scale = product.forward ? attention.filter : attention.channel;
  Vec<float, 2> dots[4] = {};
  Vec<float, 2> scale[4];
  OMNI_UNROLL for (int j = 0; j < 4; ++j) {
    const int column = place.first_column + column_warp * warp_columns + j * 8 + pair;
    scale[j] = {{1.0f, 1.0f}};
    if (attention_scale && present && column < product.columns)
      scale[j] = {{attention_scale[n * product.columns + column], attention_scale[n * product.columns + column + 1]}};
  }
  OMNI_UNROLL for (int m = 0; m < Tiling::row_tiles; ++m) {
    OMNI_UNROLL for (int half = 0; half < 2; ++half) {
      const int row = row_warp % Tiling::sample_warps * Tiling::warp_rows + m * 16 + half * 8 + group;
      const int pixel = place.first_pixel + row;
      if (pixel >= end) continue;
      const int h = place.class_number / product.spread() + pixel / width * product.spread();
      const int w = place.class_number % product.spread() + pixel % width * product.spread();
      const std::int64_t line = ((n * product.target_height + h) * product.target_width + w) * product.columns;
      OMNI_UNROLL for (int j = 0; j < 4; ++j) {
        const int column = place.first_column + column_warp * warp_columns + j * 8 + pair;
        if (column >= product.columns) continue;
        const float low = sums[m][j][2 * half] * scale[j][0], high = sums[m][j][2 * half + 1] * scale[j][1];
        if constexpr (Forward) {
          const auto stored = unpack<Half>(pack<Half>(low, high));
          sums[m][j][2 * half] = stored[0];
          sums[m][j][2 * half + 1] = stored[1];
        } else if (result.input) {
          const auto x = load_vector<2>(result.input + line + column);
          dots[j][0] += x[0] * low;
          dots[j][1] += x[1] * high;
        }
        write_pair(result.target + line + column, low, high, result.accumulate);
      }
    }
  }
  if constexpr (Forward) {
    if (!result.moments) return;
    const int first_warp = row_warp - row_warp % Tiling::sample_warps, left = end - place.first_pixel;
    write_moments<Tiling::sample_warps>(
        {.rows = left < Tiling::sample_rows ? left : Tiling::sample_rows,
         .warp = row_warp % Tiling::sample_warps,
         .column = place.first_column + column_warp * warp_columns,
         .columns = product.columns,
         .shared = shared_dots + first_warp * tile_columns + column_warp * warp_columns,
         .part = result.moments + (n * place.pixel_tiles + place.pixel_tile) * 2 * product.columns},
        sums);
  }
  if (!result.input) return;

  OMNI_UNROLL for (int j = 0; j < 4; ++j) {
    OMNI_UNROLL for (int side = 0; side < 2; ++side) {
      float dot = dots[j][side];
      for (int mask = 4; mask < warp_size; mask *= 2) dot += shuffle_xor(dot, mask);
      if (group == 0) shared_dots[row_warp * tile_columns + column_warp * warp_columns + j * 8 + pair + side] = dot;
    }
  }
  barrier();
  for (int i = thread_rank(); i < Tiling::samples * tile_columns; i += threads) {
    const std::int64_t sample = place.first_sample + i / tile_columns;
    const int column = place.first_column + i % tile_columns;
    if (sample >= product.samples || column >= product.columns) continue;
    float dot = 0;
    for (int warp = 0; warp < Tiling::sample_warps; ++warp)
      dot += shared_dots[(i / tile_columns * Tiling::sample_warps + warp) * tile_columns + i % tile_columns];
    result.dots[(sample * place.pixel_tiles + place.pixel_tile) * product.columns + column] = dot;
  }
}
/// A block at work: its place, its memory, and how far it is along the inner dimension.
template <class Half, class Tiling, bool Forward>
struct Work {
  const Product product;
  const Half *const source, *const weight;
  const int source_pixels, source_buffers;
  const Shared<Half, Tiling> shared;
  const BlockPlace place;
  const int taps, steps;
  Step fetched, multiplied;
  int positions[Tiling::row_tiles];  // of the pixels whose rows the lane names to ldmatrix

  OMNI_DEVICE Work(const Product& product_, const AttentionValues<float>& attention, const Layout& layout,
                   const Half* source_, const Half* weight_)
      : product(product_),
        source(source_),
        weight(weight_),
        source_pixels(layout.source_pixels),
        source_buffers(layout.source_buffers),
        shared(product, source_pixels, source_buffers),
        place(block_place<Tiling>(product, layout.pixel_tiles, layout.column_tiles)),
        taps(list_taps(product, place.class_number, shared.taps)),
        steps(taps * product.chunks()) {
    fill_tables(product, attention, place.first_sample, shared);
    barrier();
    OMNI_UNROLL for (int m = 0; m < Tiling::row_tiles; ++m) {
      const int width = product.class_width(place.class_number);
      const int row = warp_index() % row_warps % Tiling::sample_warps * Tiling::warp_rows + m * 16 + lane_index() % 16;
      const int pixel = place.first_pixel + row;
      const bool exists = pixel < width * product.class_height(place.class_number);
      positions[m] = exists ? pixel / width * product.step() << 16 | pixel % width * product.step() : nowhere;
    }
  }

  /// The sample of the block whose rows the warp has.
  OMNI_DEVICE int sample() const { return warp_index() % row_warps / Tiling::sample_warps; }
  OMNI_DEVICE Half* source_of(int chunk) const {
    const int buffer = source_buffers > 1 ? chunk & 1 : 0;
    return shared.source + buffer * Tiling::samples * source_pixels * depth;
  }
  OMNI_DEVICE Half* kernels_of(int step) const {
    return shared.kernels + step % stages * product.kernels * tile_weights;
  }

  /// Starts the copies of the step after those that have been fetched, if there is one, and closes their group.
  OMNI_DEVICE void fetch(int step) {
    if (step < steps) {
      fetch_kernels<Half, Forward>(product, place.first_column, fetched.chunk, shared.taps[fetched.tap].number, weight,
                                   kernels_of(step));
      fetched.advance(taps);
    }
    copy_commit();
  }
  /// Starts the copies of the first steps, with the first chunk of the source.
  OMNI_DEVICE void start() {
    fetch_source<Half, Tiling>(product, place, 0, source, source_of(0));
    for (int step = 0; step < stages - 1; ++step) fetch(step);
  }
  /// Waits for the thread's copies of all steps but the last that was started; with a single tap for that too, because
  /// the chunk of the source that came with it is needed at once.
  OMNI_DEVICE void await_copies() const {
    if (taps == 1) {
      copy_wait<0>();
    } else {
      copy_wait<stages - 2>();
    }
  }
  /// Meets the other threads, each done with the step before, and starts what may overwrite it.
  OMNI_DEVICE void begin(int step) {
    const bool new_chunk = multiplied.tap == 0;
    if (new_chunk && step > 0 && source_buffers == 1) {
      barrier();
      fetch_source<Half, Tiling>(product, place, multiplied.chunk, source, source_of(multiplied.chunk));
      copy_commit();
      copy_wait<0>();
    }
    barrier();
    if (new_chunk && source_buffers > 1 && multiplied.chunk + 1 < product.chunks())
      fetch_source<Half, Tiling>(product, place, multiplied.chunk + 1, source, source_of(multiplied.chunk + 1));
    fetch(step + stages - 1);
  }

  /// Where a pixel under the current tap lies in the source's window; in the padding, which line of zeros lies in the
  /// banks that the window would go on in.
  struct Line {
    bool inside;
    int number;
  };
  OMNI_DEVICE Line line_of(int m, const Tap& tap) const {
    const int h = (positions[m] >> 16) + tap.shift_h, w = (positions[m] & 0xffff) + tap.shift_w;
    const bool inside = static_cast<unsigned>(h) < static_cast<unsigned>(product.source_height) &&
                        static_cast<unsigned>(w) < static_cast<unsigned>(product.source_width);
    const int number = (sample() * place.window.height + h - place.window.begin) * product.source_width + w;
    return {inside, inside ? number : number & (zero_lines - 1)};
  }
  /// The fragment of A of one half of the depth.
  OMNI_DEVICE Vec<unsigned, 4> load_rows(const Half* pixels, const Line& line, int half) const {
    return ldmatrix<4>((line.inside ? pixels : shared.zeros) +
                       swizzled<depth / piece>(line.number, half * 2 + lane_index() / 16));
  }
};

}  // namespace omniconv::kernels::mma
