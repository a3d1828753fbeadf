#include "kernels/od_conv_mma.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "kernels/columns.h"
#include "kernels/error.h"
#include "kernels/simt/tensor_core.h"

namespace omniconv::kernels {

namespace {

using namespace omniconv::simt;

constexpr int threads = 256;  // of a block: four warps along the rows, two along the columns
constexpr int row_warps = 4;
constexpr int tile_columns = 64;
constexpr int warp_columns = 32;
constexpr int depth = 32;  // inner channels of a step, which has one tap
constexpr int stages = 3;  // tiles of the kernels on their way
constexpr int piece = 8;   // 16-bit values of 16 bytes, the unit of copies and of matrix rows
constexpr int tile_weights = tile_columns * depth;
static_assert(tile_weights == threads * piece, "a thread aggregates one piece of a tile");

constexpr int max_taps = 64;
constexpr int max_extent = 1 << 13;    // of images and of the reach of kernels: positions are packed into 16 bits
constexpr int nowhere = 0x7000 << 16;  // the position of rows behind the last pixel, outside of every image

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
OMNI_HOST_DEVICE AxisTap axis_tap(const Product& product, int v, int r) {
  if (product.forward) return {true, r * product.dilation - product.padding};
  const int distance = v + product.padding - r * product.dilation;
  return {distance % product.stride == 0, distance / product.stride};
}

/// The rows of source pixels under `rows` pixels of a class from `first` on: [begin, begin + height).
struct Window {
  int begin, height;
};
OMNI_HOST_DEVICE Window window_of(const Product& product, int class_number, int first, int rows) {
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

/// How a block's rows are made up.
template <int Rows, int Samples>
struct Tile {
  static constexpr int samples = Samples;
  static constexpr int sample_rows = Rows / Samples;
  static constexpr int warp_rows = Rows / row_warps;
  static constexpr int sample_warps = row_warps / Samples;  // that share a sample's rows
  static_assert(sample_warps >= 1 && warp_rows % 16 == 0);

  static int pixel_tiles(const Product& product) { return (product.class_pixels() + sample_rows - 1) / sample_rows; }
  static int column_tiles(const Product& product) { return (product.columns + tile_columns - 1) / tile_columns; }
};

/// What lies in shared memory, in its order.
template <class Half, class Tiling>
struct Shared {
  float* shares;  // q [samples, K, taps]
  float* scale;   // c or f [samples, chunks · depth]
  float* dots;    // C [row_warps, tile_columns]
  Tap* taps;
  Half* zeros;    // a line of the source in the padding
  Half* weights;  // aggregated [2, samples, tile]
  Half* kernels;  // [stages, K, threads, piece]: every thread brings the piece that it aggregates itself
  Half* source;   // [source_buffers, samples, window pixels, depth]

  OMNI_DEVICE Shared(const Product& product, int source_pixels, int source_buffers) {
    SharedMemory memory;
    shares = memory.array<float>(Tiling::samples * product.kernels * product.taps());
    scale = memory.array<float>(Tiling::samples * product.chunks() * depth);
    dots = memory.array<float>(row_warps * tile_columns);
    taps = memory.array<Tap>(max_taps);
    zeros = memory.array<Half>(depth);
    weights = memory.array<Half>(2 * Tiling::samples * tile_weights);
    kernels = memory.array<Half>(stages * product.kernels * tile_weights);
    source = memory.array<Half>(source_buffers * Tiling::samples * source_pixels * depth);
  }

  static std::size_t bytes(const Product& product, int source_pixels, int source_buffers) {
    const auto count = [](auto... factors) { return (std::size_t{1} * ... * static_cast<std::size_t>(factors)); };
    return SharedSize{}
        .array<float>(count(Tiling::samples, product.kernels, product.taps()))
        .template array<float>(count(Tiling::samples, product.chunks(), depth))
        .template array<float>(row_warps * tile_columns)
        .template array<Tap>(max_taps)
        .template array<Half>(depth)
        .template array<Half>(count(2, Tiling::samples, tile_weights))
        .template array<Half>(count(stages, product.kernels, tile_weights))
        .template array<Half>(count(source_buffers, Tiling::samples, source_pixels, depth))
        .bytes();
  }
};

// Lines of 64 and of 128 bytes whose pieces are permuted such that the eight rows of a matrix, one piece of eight
// consecutive lines, lie in different banks.
template <int LinePieces>
OMNI_DEVICE int swizzled(int line, int piece_of_line) {
  static_assert(LinePieces == 4 || LinePieces == 8);
  const int turn = LinePieces == 4 ? line / 2 % 4 : line % 8;
  return (line * LinePieces + (piece_of_line ^ turn)) * piece;
}

/// Lines of the tile of weights: output channels of the kernels, `depth` input channels each in the forward direction,
/// `tile_columns` in the data gradient.
template <bool Forward>
inline constexpr int weight_line_pieces = (Forward ? depth : tile_columns) / piece;

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

/// Fills the tables of shares and scales, and the line of zeros; absent attention and absent samples are ones.
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
  if (thread_rank() < depth) shared.zeros[thread_rank()] = Half(0.0f);
}

/// Starts the copies of `depth` channels of the window of source pixels of every sample.
template <class Half, class Tiling>
OMNI_DEVICE void fetch_source(const Product& product, const BlockPlace& place, int chunk, const Half* source,
                              Half* to) {
  constexpr int line_pieces = depth / piece;
  const int pixels = place.window.height * product.source_width;
  for (int g = 0; g < Tiling::samples; ++g) {
    const std::int64_t n = place.first_sample + g;
    const std::int64_t first = (n * product.source_height + place.window.begin) * product.source_width;
    for (int i = thread_rank(); i < pixels * line_pieces; i += threads) {
      const int channel = chunk * depth + i % line_pieces * piece;
      const bool valid = n < product.samples && channel < product.inner;
      const Half* const from = source + (first + i / line_pieces) * product.inner + channel;
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
  const std::int64_t kernel_size = std::int64_t{product.out_channels} * product.taps() * product.in_channels;
  const Half* from = weight;
  if (valid) from += (std::int64_t{o} * product.taps() + tap) * product.in_channels + i;
  to += thread_rank() * piece;
  for (int k = 0; k < product.kernels; ++k, to += tile_weights)
    copy_async<16>(to, valid ? from + k * kernel_size : weight, valid);
}

/// The thread's piece of Σ_k q_nk W_k, scaled along the inner channels, for every sample.
template <class Half, class Tiling, bool Forward>
OMNI_DEVICE void aggregate(const Product& product, const Shared<Half, Tiling>& shared, int chunk, int tap,
                           const Half* kernels, Half* to) {
  const auto own = WeightPiece::of_this_thread<Forward>();
  float sums[Tiling::samples][piece] = {};
  kernels += thread_rank() * piece;
  const float* share = shared.shares + tap;
  for (int k = 0; k < product.kernels; ++k, kernels += tile_weights, share += product.taps()) {
    const Vec<Half, piece> values = load_vector<piece>(kernels);
    OMNI_UNROLL for (int g = 0; g < Tiling::samples; ++g) {
      const float q = share[g * product.kernels * product.taps()];
      OMNI_UNROLL for (int i = 0; i < piece; ++i) sums[g][i] += q * static_cast<float>(values[i]);
    }
  }
  const int first_scale = chunk * depth + (Forward ? own.piece_of_line * piece : own.line);
  OMNI_UNROLL for (int g = 0; g < Tiling::samples; ++g) {
    const float* const scale = shared.scale + g * product.chunks() * depth + first_scale;
    Vec<unsigned, piece / 2> words;
    OMNI_UNROLL for (int i = 0; i < piece / 2; ++i) {
      const int low = 2 * i, high = 2 * i + 1;
      words[i] = pack<Half>(sums[g][low] * scale[Forward ? low : 0], sums[g][high] * scale[Forward ? high : 0]);
    }
    Half* const target = to + g * tile_weights + swizzled<weight_line_pieces<Forward>>(own.line, own.piece_of_line);
    store_vector(target, std::bit_cast<Vec<Half, piece>>(words));
  }
}

/// Fragments of the warp's columns of a tile of weights: for both halves of the depth, four of B.
template <class Half, bool Forward>
OMNI_DEVICE void load_weights(const Half* tile, int first_column, Vec<unsigned, 2> (&b)[2][4]) {
  const int lane = lane_index();
  const int row = lane % 8, second = lane / 8 % 2, fourth = lane / 16;
  OMNI_UNROLL for (int half = 0; half < 2; ++half) {
    OMNI_UNROLL for (int pair = 0; pair < 2; ++pair) {
      // Matrices: columns 0 to 7 of the upper and the lower eight of the half's depth, then columns 8 to 15.
      const int column = first_column + pair * 16 + fourth * 8;
      const int at = Forward ? swizzled<weight_line_pieces<true>>(column + row, half * 2 + second)
                             : swizzled<weight_line_pieces<false>>(half * 16 + second * 8 + row, column / piece);
      const Vec<unsigned, 4> words = ldmatrix<4, !Forward>(tile + at);
      b[half][2 * pair] = {{words[0], words[1]}};
      b[half][2 * pair + 1] = {{words[2], words[3]}};
    }
  }
}

/// What the epilogue does with the sums.
template <class Half>
struct Result {
  Half* target;
  const Half* input;  // for C, or nullptr
  float* dots;        // [N, pixel tiles, columns]
  bool accumulate;
};

/// Rounds and stores the warp's sums, scaled per column, and folds them with the input into C.
template <class Half, class Tiling>
OMNI_DEVICE void store(const Product& product, const AttentionValues<float>& attention, const BlockPlace& place,
                       const Result<Half>& result, const Vec<float, 4> (&sums)[Tiling::warp_rows / 16][4],
                       float* shared_dots) {
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
  OMNI_UNROLL for (int m = 0; m < Tiling::warp_rows / 16; ++m) {
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
        float low = sums[m][j][2 * half] * scale[j][0], high = sums[m][j][2 * half + 1] * scale[j][1];
        if (result.input) {
          const auto x = load_vector<2>(result.input + line + column);
          dots[j][0] += x[0] * low;
          dots[j][1] += x[1] * high;
        }
        Half* const target = result.target + line + column;
        if (result.accumulate) {
          const auto before = load_vector<2>(target);
          low += before[0];
          high += before[1];
        }
        store_vector(target, std::bit_cast<Vec<Half, 2>>(pack<Half>(low, high)));
      }
    }
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

/// A step of the inner dimension: `depth` channels under one tap.
struct Step {
  int chunk = 0, tap = 0;

  OMNI_DEVICE void advance(int taps) {
    if (++tap < taps) return;
    tap = 0;
    ++chunk;
  }
};

// Step s multiplies the tile of weights that step s - 1 has aggregated, while the kernels of s + 2 are on their way.
// One barrier a step: in front of it all threads have aggregated their piece and have done with the step before.
template <class Half, class Tiling, bool Forward>
OMNI_KERNEL void product_kernel(Product product, AttentionValues<float> attention, int pixel_tiles, int column_tiles,
                                int source_pixels, int source_buffers, const Half* source, const Half* weight,
                                Result<Half> result) {
  constexpr int row_tiles = Tiling::warp_rows / 16;
  const Shared<Half, Tiling> shared(product, source_pixels, source_buffers);
  const BlockPlace place = block_place<Tiling>(product, pixel_tiles, column_tiles);
  const int taps = list_taps(product, place.class_number, shared.taps);
  const int steps = taps * product.chunks();
  fill_tables(product, attention, place.first_sample, shared);
  barrier();

  const auto source_of = [&](int chunk) {
    return shared.source + chunk % source_buffers * Tiling::samples * source_pixels * depth;
  };
  const auto kernels_of = [&](int step) { return shared.kernels + step % stages * product.kernels * tile_weights; };
  const auto weights_of = [&](int step) { return shared.weights + step % 2 * Tiling::samples * tile_weights; };

  const int row_warp = warp_index() % row_warps, column_warp = warp_index() / row_warps, lane = lane_index();
  const int sample = row_warp / Tiling::sample_warps;
  const int window_pixels = place.window.height * product.source_width;
  int positions[row_tiles];  // of the pixel whose row the lane names to ldmatrix
  OMNI_UNROLL for (int m = 0; m < row_tiles; ++m) {
    const int width = product.class_width(place.class_number);
    const int row = row_warp % Tiling::sample_warps * Tiling::warp_rows + m * 16 + lane % 16;
    const int pixel = place.first_pixel + row;
    const bool exists = pixel < width * product.class_height(place.class_number);
    positions[m] = exists ? pixel / width * product.step() << 16 | pixel % width * product.step() : nowhere;
  }

  Step fetched, aggregated, multiplied;
  const auto fetch = [&](int step) {
    if (step < steps) {
      fetch_kernels<Half, Forward>(product, place.first_column, fetched.chunk, shared.taps[fetched.tap].number, weight,
                                   kernels_of(step));
      fetched.advance(taps);
    }
    copy_commit();
  };
  const auto aggregate_step = [&](int step) {
    if (step >= steps) return;
    aggregate<Half, Tiling, Forward>(product, shared, aggregated.chunk, shared.taps[aggregated.tap].number,
                                     kernels_of(step), weights_of(step));
    aggregated.advance(taps);
  };

  Vec<float, 4> sums[row_tiles][4] = {};
  if (steps > 0) {
    fetch_source<Half, Tiling>(product, place, 0, source, source_of(0));
    for (int step = 0; step < stages - 1; ++step) fetch(step);
    copy_wait<stages - 2>();
    aggregate_step(0);
  }
  for (int step = 0; step < steps; ++step) {
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

    const Tap tap = shared.taps[multiplied.tap];
    const Half* const pixels = source_of(multiplied.chunk);
    Vec<unsigned, 2> b[2][4];
    load_weights<Half, Forward>(weights_of(step) + sample * tile_weights, column_warp * warp_columns, b);
    OMNI_UNROLL for (int m = 0; m < row_tiles; ++m) {
      const int h = (positions[m] >> 16) + tap.shift_h, w = (positions[m] & 0xffff) + tap.shift_w;
      const bool inside = static_cast<unsigned>(h) < static_cast<unsigned>(product.source_height) &&
                          static_cast<unsigned>(w) < static_cast<unsigned>(product.source_width);
      const int line = sample * window_pixels + (h - place.window.begin) * product.source_width + w;
      OMNI_UNROLL for (int half = 0; half < 2; ++half) {
        const int column = half * 2 + lane / 16;
        const Vec<unsigned, 4> a =
            ldmatrix<4>(inside ? pixels + swizzled<depth / piece>(line, column) : shared.zeros + column * piece);
        OMNI_UNROLL for (int j = 0; j < 4; ++j) mma_m16n8k16<Half>(sums[m][j], a, b[half][j]);
      }
    }
    multiplied.advance(taps);

    // With a single tap the next chunk of the source, too, is needed at the next step.
    if (taps == 1) {
      copy_wait<0>();
    } else {
      copy_wait<stages - 2>();
    }
    aggregate_step(step + 1);
  }
  copy_wait<0>();
  store<Half, Tiling>(product, attention, place, result, sums, shared.dots);
}

Product product_of(const ConvShape& shape, std::int64_t kernels, bool forward) {
  const auto whole = [](std::int64_t extent) { return static_cast<int>(extent); };
  const ConvShape& s = shape;
  Product product{.forward = forward,
                  .samples = whole(s.samples),
                  .kernels = whole(kernels),
                  .in_channels = whole(s.in_channels),
                  .out_channels = whole(s.out_channels),
                  .inner = whole(s.in_channels),
                  .columns = whole(s.out_channels),
                  .source_height = whole(s.height),
                  .source_width = whole(s.width),
                  .target_height = whole(s.out_height()),
                  .target_width = whole(s.out_width()),
                  .kernel_height = whole(s.kernel_height),
                  .kernel_width = whole(s.kernel_width),
                  .stride = whole(s.params.stride),
                  .padding = whole(s.params.padding),
                  .dilation = whole(s.params.dilation)};
  if (!forward) {
    std::swap(product.inner, product.columns);
    std::swap(product.source_height, product.target_height);
    std::swap(product.source_width, product.target_width);
  }
  return product;
}

/// How a launch lays out its blocks and their memory.
struct Layout {
  int pixel_tiles, column_tiles, source_pixels, source_buffers;
  std::int64_t padded_pixels;  // of a sample and class: what the tiles cover
  std::size_t shared_bytes;
};

template <class Tiling>
std::optional<Layout> layout_of(const Product& product) {
  Layout layout{};
  layout.pixel_tiles = Tiling::pixel_tiles(product);
  layout.column_tiles = Tiling::column_tiles(product);
  layout.padded_pixels = std::int64_t{layout.pixel_tiles} * Tiling::sample_rows;
  int height = 0;
  for (int number = 0; number < product.classes(); ++number)
    for (int tile = 0; tile < layout.pixel_tiles; ++tile)
      height = std::max(height, window_of(product, number, tile * Tiling::sample_rows, Tiling::sample_rows).height);
  layout.source_pixels = height * product.source_width;
  for (layout.source_buffers = product.chunks() > 1 ? 2 : 1; layout.source_buffers > 0; --layout.source_buffers) {
    layout.shared_bytes = Shared<bf16, Tiling>::bytes(product, layout.source_pixels, layout.source_buffers);
    if (layout.shared_bytes <= shared_bytes_limit()) return layout;
  }
  return std::nullopt;
}

/// Calls body(Tile, Layout) with the tile that covers a sample's pixels with the least waste, of those that fit the
/// device's shared memory, the largest first. Returns whether there is one.
template <class Body>
bool with_layout(const Product& product, Body&& body) {
  const auto large = layout_of<Tile<512, 1>>(product), pair = layout_of<Tile<512, 2>>(product),
             small = layout_of<Tile<256, 4>>(product);
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (const auto& layout : {large, pair, small})
    if (layout) least = std::min(least, layout->padded_pixels);
  if (large && large->padded_pixels == least) {
    body(Tile<512, 1>{}, *large);
  } else if (pair && pair->padded_pixels == least) {
    body(Tile<512, 2>{}, *pair);
  } else if (small) {
    body(Tile<256, 4>{}, *small);
  } else {
    return false;
  }
  return true;
}

template <class Half, bool Forward>
void run(const ConvShape& shape, const AttentionValues<float>& attention, const Half* source, const Half* weight,
         const Result<Half>& result, Stream stream) {
  expect(od_conv_mma_takes(shape, attention.kernels), "od_conv_mma", "expected a shape that the kernels take, got ",
         shape.in_channels, " to ", shape.out_channels, " channels in ", shape.params.groups, " groups, ",
         attention.kernels, " kernels of ", shape.kernel_height, "x", shape.kernel_width, " on ", shape.height, "x",
         shape.width, " pixels");
  const Product product = product_of(shape, attention.kernels, Forward);
  with_layout(product, [&](auto tile, const Layout& layout) {
    using Tiling = decltype(tile);
    const std::int64_t blocks = std::int64_t{layout.pixel_tiles} * product.classes() * layout.column_tiles *
                                ((product.samples + Tiling::samples - 1) / Tiling::samples);
    expect(blocks <= 0x7fffffff, "od_conv_mma", "expected at most 2147483647 tiles, got ", blocks);
    launch(product_kernel<Half, Tiling, Forward>, {static_cast<unsigned>(blocks)}, {threads}, layout.shared_bytes,
           stream, product, attention, layout.pixel_tiles, layout.column_tiles, layout.source_pixels,
           layout.source_buffers, source, weight, result);
  });
}

/// Parts into which the data gradient's blocks cut the pixels of a sample.
std::int64_t dot_parts(const Product& product) {
  std::int64_t parts = 0;
  with_layout(product,
              [&](auto, const Layout& layout) { parts = std::int64_t{layout.pixel_tiles} * product.classes(); });
  return parts;
}

}  // namespace

bool od_conv_mma_takes(const ConvShape& shape, std::int64_t kernels) {
  const Conv2dParams& params = shape.params;
  if (params.groups != 1 || shape.in_channels % piece != 0 || shape.out_channels % piece != 0) return false;
  if (shape.taps() > max_taps || params.padding >= max_extent || params.stride >= max_extent) return false;
  if (std::max({shape.height, shape.width, shape.kernel_height * params.dilation,
                shape.kernel_width * params.dilation}) >= max_extent)
    return false;
  const auto fits = [&](bool forward) {
    return with_layout(product_of(shape, kernels, forward), [](auto, const Layout&) {});
  };
  return fits(true) && fits(false);
}

template <class Half>
void od_conv_mma_forward(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                         const Half* weight, Half* output, Stream stream) {
  run<Half, true>(shape, attention, input, weight, {output, nullptr, nullptr, false}, stream);
}

std::int64_t od_conv_mma_data_gradient_workspace(const ConvShape& shape, std::int64_t kernels) {
  return shape.samples * shape.in_channels * dot_parts(product_of(shape, kernels, false));
}

template <class Half>
void od_conv_mma_data_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                               const Half* weight, const Half* d_output, Half* d_input, bool accumulate,
                               float* weighted_channel, float* workspace, Stream stream) {
  run<Half, false>(shape, attention, d_output, weight,
                   {d_input, weighted_channel ? input : nullptr, workspace, accumulate}, stream);
  if (weighted_channel)
    launch_column_sums(shape.samples, dot_parts(product_of(shape, attention.kernels, false)), shape.in_channels,
                       static_cast<const float*>(workspace), 1.0, weighted_channel, false, stream);
}

#define OMNICONV_INSTANTIATE(T)                                                                                       \
  template void od_conv_mma_forward(const ConvShape&, const AttentionValues<float>&, const T*, const T*, T*, Stream); \
  template void od_conv_mma_data_gradient(const ConvShape&, const AttentionValues<float>&, const T*, const T*,        \
                                          const T*, T*, bool, float*, float*, Stream);
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
