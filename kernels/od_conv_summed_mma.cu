#include "kernels/od_conv_summed_mma.h"

#include <algorithm>
#include <vector>

#include "kernels/columns.h"
#include "kernels/dynamic.h"
#include "kernels/error.h"
#include "kernels/mma_tiles.h"
#include "kernels/simt/tensor_core.h"

namespace omniconv::kernels {

namespace {

using namespace mma;

constexpr int column_warps = 2;  // of a block; four along the rows
constexpr int tile_rows = 128;
constexpr int half_rows = tile_rows / 2;
constexpr int warp_rows = 32;
constexpr int warp_columns = 32;
constexpr int tile_kernels = 4;              // kernels that a block multiplies with at once
constexpr int own_lines = warp_rows / 8;     // rows of the tile of which a thread has sums
constexpr int own_words = warp_columns / 8;  // pairs of columns of which it has them
constexpr int source_stage = tile_rows * depth;
constexpr int weight_stage = tile_kernels * tile_weights;
static_assert(source_stage == 2 * threads * piece, "a thread brings a piece of each half of the rows");

/// The pixels of the product's rows, in the order in which the rows have them, and the taps that each of them meets.
struct Positions {
  static constexpr int most = 64;

  std::uint64_t taps[most];
  std::uint8_t pixel[most];
};

/// One direction of the convolution as a product. The gathered operand is `source` [N, pixels, inner], the result
/// `target` [N, positions, columns].
///
/// Rows of the product are numbered position · N + n, and a tile has two runs of them, one from either end: positions
/// that meet many taps come first, those that meet few last, so that all tiles have about the same work.
struct Product {
  int samples, kernels, in_channels, out_channels;
  int inner, columns;
  int source_pixels, positions, taps;

  OMNI_HOST_DEVICE int rows() const { return positions * samples; }
  OMNI_HOST_DEVICE int halves() const { return (rows() + half_rows - 1) / half_rows; }
  OMNI_HOST_DEVICE int column_tiles() const { return (columns + tile_columns - 1) / tile_columns; }
  OMNI_HOST_DEVICE int chunks() const { return (inner + depth - 1) / depth; }
};

/// Which of the pixels of the source lies under a tap of a target's pixel, or -1.
template <bool Forward>
OMNI_HOST_DEVICE int source_pixel(const Geometry& geometry, int pixel, int tap) {
  return static_cast<int>(Forward ? geometry.input_pixel(pixel, tap) : geometry.output_pixel(pixel, tap));
}

/// What is left of a product with sums of f32.
template <class Half>
struct Result {
  Half* target;  // or nullptr
  bool accumulate;
  const Half* input;  // [N, positions, columns], for the other two
  float* products;    // input ⊙ target, of its shape, or nullptr
  float* shares;      // parts of Q [column tiles · column_warps, positions, N, K, taps], or nullptr
  float* moments;     // [rows / warp_rows, 2, columns] of the target, forward; or nullptr
};

/// A row of a tile: which position and sample; no sample where there is none.
struct Row {
  int position, sample;

  OMNI_DEVICE bool present() const { return sample >= 0; }
};

/// What lies in shared memory, in its order.
template <class Half>
struct Shared {
  Row* rows;             // [tile_rows]
  short* source_pixels;  // [positions, taps]
  Half* source;          // [stages, tile_rows, depth]
  Half* weights;         // [stages, tile_kernels, tile]
  unsigned* input;       // [own_lines, threads, own_words]: every thread's own part, for the data gradient's Q

  OMNI_DEVICE explicit Shared(const Product& product) {
    SharedMemory memory;
    rows = memory.array<Row>(tile_rows);
    source_pixels = memory.array<short>(product.positions * product.taps);
    source = memory.array<Half>(stages * source_stage);
    weights = memory.array<Half>(stages * weight_stage);
    input = memory.array<unsigned>(own_lines * threads * own_words);
  }

  /// The thread's elements of the input under its sums [m][.][2 · half] and behind, times c, in words of two.
  OMNI_DEVICE unsigned* own_input(int m, int half) const {
    return input + ((m * 2 + half) * threads + thread_rank()) * own_words;
  }

  static std::size_t bytes(const Product& product) {
    return SharedSize{}
        .array<Row>(tile_rows)
        .template array<short>(static_cast<std::size_t>(product.positions * product.taps))
        .template array<Half>(stages * source_stage)
        .template array<Half>(stages * weight_stage)
        .template array<unsigned>(own_lines * threads * own_words)
        .bytes();
  }
};

/// Which rows a block or a warp has: two runs of a tile, or a part of one of them.
OMNI_DEVICE int first_row_of_half(const Product& product, int half) {
  const int number = static_cast<int>(block_index().y), last = product.halves() - 1 - number;
  if (half == 0) return number * half_rows;
  return last == number ? product.rows() : last * half_rows;  // the half in the middle has no other
}

/// The taps that `count` rows from `first` on meet.
OMNI_DEVICE std::uint64_t taps_of_rows(const Product& product, const Positions& positions, int first, int count) {
  const int end = first + count < product.rows() ? first + count : product.rows();
  std::uint64_t taps = 0;
  if (first < end)
    for (int p = first / product.samples; p <= (end - 1) / product.samples; ++p) taps |= positions.taps[p];
  return taps;
}

/// Where a thread's rows and columns lie. Warps w and w + 4, which share a part of the multiprocessor, have rows of
/// different halves.
struct WarpPlace {
  int row, column;  // first of the warp's in the tile

  OMNI_DEVICE static WarpPlace of_this_thread() {
    return {warp_index() / column_warps * warp_rows, warp_index() % column_warps * warp_columns};
  }
};

/// A step: `depth` inner channels of a tap for up to four kernels.
struct Step {
  int first_kernel, tap, chunk;

  /// The first of all steps; has no kernels if there is none.
  OMNI_DEVICE static Step first(const Product& product, std::uint64_t taps) {
    Step step{taps ? 0 : product.kernels, 0, 0};
    if (taps) step.skip_others(taps);
    return step;
  }
  OMNI_DEVICE bool exists(const Product& product) const { return first_kernel < product.kernels; }
  OMNI_DEVICE bool is_last_of_tap(const Product& product) const { return chunk + 1 == product.chunks(); }
  OMNI_DEVICE void advance(const Product& product, std::uint64_t taps) {
    if (++chunk < product.chunks()) return;
    chunk = 0;
    if (++tap == product.taps || (taps >> tap) == 0) {
      tap = 0;
      first_kernel += tile_kernels;
    }
    skip_others(taps);
  }

 private:
  OMNI_DEVICE void skip_others(std::uint64_t taps) {
    while ((taps >> tap & 1) == 0) ++tap;
  }
};

/// Starts the copies of a step.
template <class Half, bool Forward>
OMNI_DEVICE void fetch(const Product& product, int first_column, const Step& step, const Half* source,
                       const Half* weight, int stage, const Shared<Half>& shared) {
  constexpr int line_pieces = depth / piece;
  const int own_piece = thread_rank() % line_pieces, channel = step.chunk * depth + own_piece * piece;
  Half* const to_source = shared.source + stage * source_stage;
  OMNI_UNROLL for (int half = 0; half < 2; ++half) {
    const int line = half * half_rows + thread_rank() / line_pieces;
    const Row row = shared.rows[line];
    const int pixel = row.present() ? shared.source_pixels[row.position * product.taps + step.tap] : -1;
    const bool valid = pixel >= 0 && channel < product.inner;
    const std::int64_t at = (std::int64_t{row.sample} * product.source_pixels + pixel) * product.inner + channel;
    copy_async<16>(to_source + swizzled<line_pieces>(line, own_piece), source + (valid ? at : 0), valid);
  }

  constexpr int weight_pieces = weight_line_pieces<Forward>;
  const int line = thread_rank() / weight_pieces, piece_of_line = thread_rank() % weight_pieces;
  const int o = (Forward ? first_column : step.chunk * depth) + line;
  const int i = (Forward ? step.chunk * depth : first_column) + piece_of_line * piece;
  const bool valid = o < product.out_channels && i < product.in_channels;
  const std::int64_t kernel_size = std::int64_t{product.out_channels} * product.taps * product.in_channels;
  const std::int64_t at = (std::int64_t{o} * product.taps + step.tap) * product.in_channels + i;
  Half* const to_weights = shared.weights + stage * weight_stage + swizzled<weight_pieces>(line, piece_of_line);
  OMNI_UNROLL for (int k = 0; k < tile_kernels; ++k) {
    if (step.first_kernel + k < product.kernels)
      copy_async<16>(to_weights + k * tile_weights, weight + (valid ? (step.first_kernel + k) * kernel_size + at : 0),
                     valid);
  }
}

using Sums = Vec<float, 4>[warp_rows / 16][warp_columns / 8];  // of a warp's part of the tile

/// sums[k] += source · W_k over the channels of a step.
template <class Half, bool Forward>
OMNI_DEVICE void multiply(const Product& product, const Step& step, int stage, const Shared<Half>& shared,
                          Sums (&sums)[tile_kernels]) {
  const WarpPlace own = WarpPlace::of_this_thread();
  const Half* const source = shared.source + stage * source_stage;
  const Half* const weights = shared.weights + stage * weight_stage;
  OMNI_UNROLL for (int half = 0; half < depth / 16; ++half) {
    Vec<unsigned, 4> a[warp_rows / 16];
    OMNI_UNROLL for (int m = 0; m < warp_rows / 16; ++m) {
      a[m] = ldmatrix<4>(source +
                         swizzled<depth / piece>(own.row + m * 16 + lane_index() % 16, half * 2 + lane_index() / 16));
    }
    OMNI_UNROLL for (int k = 0; k < tile_kernels; ++k) {
      if (step.first_kernel + k >= product.kernels) continue;
      OMNI_UNROLL for (int pair = 0; pair < warp_columns / 16; ++pair) {
        const int at = weight_row<Forward>(own.column + pair * 16, half);
        const Vec<unsigned, 4> b = ldmatrix<4, !Forward>(weights + k * tile_weights + at);
        OMNI_UNROLL for (int m = 0; m < warp_rows / 16; ++m) {
          mma_m16n8k16<Half>(sums[k][m][2 * pair], a[m], {{b[0], b[1]}});
          mma_m16n8k16<Half>(sums[k][m][2 * pair + 1], a[m], {{b[2], b[3]}});
        }
      }
    }
  }
}

/// Which row of the tile a thread's sums [m][.][2 · half] and behind are of.
OMNI_DEVICE int own_row(int m, int half) {
  return WarpPlace::of_this_thread().row + m * 16 + half * 8 + lane_index() / 4;
}
/// Which column of the product its sums [.][j][2 · half] are of; the next one is its right neighbour.
OMNI_DEVICE int own_column(int first_column, int j) {
  return first_column + WarpPlace::of_this_thread().column + j * 8 + lane_index() % 4 * 2;
}
/// Two neighbouring values of an attention [N, columns].
OMNI_DEVICE Vec<float, 2> attention_of(const float* values, const Product& product, int sample, int column) {
  if (!values) return {{1, 1}};
  return load_vector<2>(values + std::int64_t{sample} * product.columns + column);
}

/// Where the columns of a row begin in the target.
OMNI_DEVICE std::int64_t target_line(const Product& product, const Positions& positions, const Row& row) {
  return (std::int64_t{row.sample} * product.positions + positions.pixel[row.position]) * product.columns;
}

/// Brings the thread's own elements of the input where it reads them back for every tap.
template <class Half>
OMNI_DEVICE void keep_input(const Product& product, const Positions& positions, const Dynamic<float>& dynamic,
                            int first_column, const Half* input, const Shared<Half>& shared) {
  for (int m = 0; m < warp_rows / 16; ++m) {
    for (int half = 0; half < 2; ++half) {
      const Row row = shared.rows[own_row(m, half)];
      Vec<unsigned, own_words> words = {};
      for (int j = 0; j < own_words; ++j) {
        const int column = own_column(first_column, j);
        if (!row.present() || column >= product.columns) continue;
        const auto c = attention_of(dynamic.attention.channel, product, row.sample, column);
        const auto x = load_vector<2>(input + target_line(product, positions, row) + column);
        words[j] = pack<Half>(c[0] * x[0], c[1] * x[1]);
      }
      store_vector(shared.own_input(m, half), words);
    }
  }
}

/// Where a row's share of Q of this warp's columns lies.
OMNI_DEVICE std::int64_t share_index(const Product& product, const Row& row, int kernel, int tap) {
  const int slice = static_cast<int>(block_index().x) * column_warps + warp_index() % column_warps;
  const std::int64_t line = (std::int64_t{slice} * product.positions + row.position) * product.samples + row.sample;
  return (line * product.kernels + kernel) * product.taps + tap;
}

/// totals += q · sums for the kernels of a step and its tap, and the warp's share of Q if wanted; clears the sums.
template <class Half>
OMNI_DEVICE void fold(const Product& product, const Dynamic<float>& dynamic, const Step& step,
                      const Shared<Half>& shared, float* shares, Sums (&sums)[tile_kernels], Sums& totals) {
  OMNI_UNROLL for (int m = 0; m < warp_rows / 16; ++m) {
    OMNI_UNROLL for (int half = 0; half < 2; ++half) {
      const Row row = shared.rows[own_row(m, half)];
      Vec<unsigned, own_words> input = {};
      if (shares) input = load_vector<own_words>(shared.own_input(m, half));
      OMNI_UNROLL for (int k = 0; k < tile_kernels; ++k) {
        const int kernel = step.first_kernel + k;
        if (kernel >= product.kernels) continue;
        const float q = row.present() ? dynamic.share(row.sample, kernel, step.tap) : 0;
        float dot = 0;
        OMNI_UNROLL for (int j = 0; j < warp_columns / 8; ++j) {
          Vec<float, 4>& sum = sums[k][m][j];
          totals[m][j][2 * half] += q * sum[2 * half];
          totals[m][j][2 * half + 1] += q * sum[2 * half + 1];
          if (shares) {
            const auto x = unpack<Half>(input[j]);
            dot += x[0] * sum[2 * half] + x[1] * sum[2 * half + 1];
          }
          sum[2 * half] = sum[2 * half + 1] = 0;
        }
        if (!shares) continue;
        dot += shuffle_xor(dot, 1);
        dot += shuffle_xor(dot, 2);
        if (lane_index() % 4 == 0 && row.present()) shares[share_index(product, row, kernel, step.tap)] = q * dot;
      }
    }
  }
}

/// The warp's share of Q of the taps that none of its rows meet.
template <class Half>
OMNI_DEVICE void clear_other_shares(const Product& product, std::uint64_t taps, const Shared<Half>& shared,
                                    float* shares) {
  const Row row = shared.rows[WarpPlace::of_this_thread().row + lane_index()];
  if (!row.present()) return;
  for (int tap = 0; tap < product.taps; ++tap) {
    if (taps >> tap & 1) continue;
    for (int k = 0; k < product.kernels; ++k) shares[share_index(product, row, k, tap)] = 0;
  }
}

template <class Half, bool Forward>
OMNI_DEVICE void store(const Product& product, const Positions& positions, const Dynamic<float>& dynamic,
                       int first_column, const Shared<Half>& shared, const Result<Half>& result, Sums& totals) {
  const float* const scale = Forward ? dynamic.attention.filter : dynamic.attention.channel;
  OMNI_UNROLL for (int m = 0; m < warp_rows / 16; ++m) {
    OMNI_UNROLL for (int half = 0; half < 2; ++half) {
      const Row row = shared.rows[own_row(m, half)];
      if (!row.present()) continue;
      const std::int64_t line = target_line(product, positions, row);
      OMNI_UNROLL for (int j = 0; j < warp_columns / 8; ++j) {
        const int column = own_column(first_column, j);
        if (column >= product.columns) continue;
        const auto factor = attention_of(scale, product, row.sample, column);
        const float low = totals[m][j][2 * half] * factor[0], high = totals[m][j][2 * half + 1] * factor[1];
        if (result.products) {
          const auto x = load_vector<2>(result.input + line + column);
          store_vector(result.products + line + column, Vec<float, 2>{{x[0] * low, x[1] * high}});
        }
        if constexpr (Forward) {
          const auto stored = unpack<Half>(pack<Half>(low, high));
          totals[m][j][2 * half] = stored[0];
          totals[m][j][2 * half + 1] = stored[1];
        }
        if (result.target) write_pair(result.target + line + column, low, high, result.accumulate);
      }
    }
  }
  if constexpr (Forward) {
    if (!result.moments) return;
    const WarpPlace own = WarpPlace::of_this_thread();
    const int first = first_row_of_half(product, own.row / half_rows) + own.row % half_rows;
    const int left = product.rows() - first;
    write_moments<1>({.rows = left < warp_rows ? left : warp_rows,
                      .warp = 0,
                      .column = first_column + own.column,
                      .columns = product.columns,
                      .shared = nullptr,
                      .part = result.moments + std::int64_t{first / warp_rows} * 2 * product.columns},
                     totals);
  }
}

template <class Half, bool Forward>
OMNI_KERNEL void product_kernel(Product product, Positions positions, Geometry geometry, Dynamic<float> dynamic,
                                const Half* source, const Half* weight, Result<Half> result) {
  const Shared<Half> shared(product);
  const int first_column = static_cast<int>(block_index().x) * tile_columns;
  for (int i = thread_rank(); i < tile_rows; i += threads) {
    const int row = first_row_of_half(product, i / half_rows) + i % half_rows;
    const bool present = row < product.rows();
    shared.rows[i] = {present ? row / product.samples : 0, present ? row % product.samples : -1};
  }
  for (int i = thread_rank(); i < product.positions * product.taps; i += threads)
    shared.source_pixels[i] =
        static_cast<short>(source_pixel<Forward>(geometry, positions.pixel[i / product.taps], i % product.taps));
  const std::uint64_t taps = taps_of_rows(product, positions, first_row_of_half(product, 0), half_rows) |
                             taps_of_rows(product, positions, first_row_of_half(product, 1), half_rows);
  const int warp_row = WarpPlace::of_this_thread().row;
  const std::uint64_t warp_taps = taps_of_rows(
      product, positions, first_row_of_half(product, warp_row / half_rows) + warp_row % half_rows, warp_rows);
  barrier();

  if (!Forward && result.shares) keep_input(product, positions, dynamic, first_column, result.input, shared);

  Step coming = Step::first(product, taps);
  int coming_stage = 0;
  const auto fetch_next = [&] {
    if (coming.exists(product)) {
      fetch<Half, Forward>(product, first_column, coming, source, weight, coming_stage, shared);
      coming.advance(product, taps);
      coming_stage = (coming_stage + 1) % stages;
    }
    copy_commit();
  };
  for (int i = 0; i < stages - 1; ++i) fetch_next();

  Sums sums[tile_kernels] = {}, totals = {};
  int stage = 0;
  for (Step step = Step::first(product, taps); step.exists(product); step.advance(product, taps)) {
    copy_wait<stages - 2>();
    barrier();
    fetch_next();
    if (warp_taps >> step.tap & 1) {
      multiply<Half, Forward>(product, step, stage, shared, sums);
      if (step.is_last_of_tap(product))
        fold(product, dynamic, step, shared, Forward ? nullptr : result.shares, sums, totals);
    }
    stage = (stage + 1) % stages;
  }
  if (!Forward && result.shares) clear_other_shares(product, warp_taps, shared, result.shares);
  store<Half, Forward>(product, positions, dynamic, first_column, shared, result, totals);
}

template <bool Forward>
Product product_of(const ConvShape& shape, std::int64_t kernels) {
  return {.samples = narrow(shape.samples),
          .kernels = narrow(kernels),
          .in_channels = narrow(shape.in_channels),
          .out_channels = narrow(shape.out_channels),
          .inner = narrow(Forward ? shape.in_channels : shape.out_channels),
          .columns = narrow(Forward ? shape.out_channels : shape.in_channels),
          .source_pixels = narrow(Forward ? shape.in_pixels() : shape.out_pixels()),
          .positions = narrow(Forward ? shape.out_pixels() : shape.in_pixels()),
          .taps = narrow(shape.taps())};
}

/// Positions by the number of taps they meet, most first; among equals such that the first and the last, the second and
/// the last but one and so on, which come into one tile, meet the same taps where possible.
template <bool Forward>
Positions sorted_positions(const Product& product, const Geometry& geometry) {
  struct Position {
    int count;
    std::uint64_t taps;
    int pixel;
  };
  std::vector<Position> sorted;
  for (int pixel = 0; pixel < product.positions; ++pixel) {
    Position position{0, 0, pixel};
    for (int tap = 0; tap < product.taps; ++tap) {
      if (source_pixel<Forward>(geometry, pixel, tap) < 0) continue;
      ++position.count;
      position.taps |= std::uint64_t{1} << tap;
    }
    sorted.push_back(position);
  }
  std::stable_sort(sorted.begin(), sorted.end(), [](const Position& a, const Position& b) {
    return a.count != b.count ? a.count > b.count : a.taps < b.taps;
  });
  Positions result{};
  for (std::size_t first = 0; first < sorted.size();) {
    std::size_t end = first;
    while (end < sorted.size() && sorted[end].count == sorted[first].count) ++end;
    for (std::size_t i = first, front = first, back = end; i < end; ++i) {
      const std::size_t to = (i - first) % 2 == 0 ? front++ : --back;
      result.taps[to] = sorted[i].taps;
      result.pixel[to] = static_cast<std::uint8_t>(sorted[i].pixel);
    }
    first = end;
  }
  return result;
}

template <class Half, bool Forward>
void run_product(const ConvShape& shape, const AttentionValues<float>& attention, const Half* source,
                 const Half* weight, const Result<Half>& result, Stream stream) {
  const Product product = product_of<Forward>(shape, attention.kernels);
  const Geometry geometry = geometry_of(shape);
  launch(product_kernel<Half, Forward>,
         {static_cast<unsigned>(product.column_tiles()), static_cast<unsigned>((product.halves() + 1) / 2)}, {threads},
         Shared<Half>::bytes(product), stream, product, sorted_positions<Forward>(product, geometry), geometry,
         dynamic_of<float>(shape, attention, nullptr), source, weight, result);
}

/// Floats of the parts of Q.
std::int64_t share_floats(const Product& product) {
  return std::int64_t{product.column_tiles()} * column_warps * product.rows() * product.kernels * product.taps;
}

}  // namespace

bool od_conv_summed_mma_takes(const ConvShape& shape) {
  constexpr std::int64_t most = Positions::most;
  return shape.params.groups == 1 && shape.in_channels % piece == 0 && shape.out_channels % piece == 0 &&
         shape.in_pixels() <= most && shape.out_pixels() <= most && shape.taps() <= most;
}

void expect_od_conv_summed_mma_takes(const ConvShape& shape) {
  expect(od_conv_summed_mma_takes(shape), "od_conv_summed_mma",
         "expected one group, multiples of 8 channels and at most 64 pixels, got ", shape.params.groups, " groups of ",
         shape.group_in(), " and ", shape.group_out(), " channels, ", shape.in_pixels(), " and ", shape.out_pixels(),
         " pixels, kernels of ", shape.taps());
}

template <class Half>
void od_conv_summed_mma_forward(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                                const Half* weight, Half* output, float* moments, Half* scaled_input, Stream stream) {
  expect_od_conv_summed_mma_takes(shape);
  const Half* const source =
      scaled<Half>(input, attention.channel, scaled_input, shape.samples, shape.in_pixels(), shape.in_channels, stream);
  run_product<Half, true>(shape, attention, source, weight, {output, false, nullptr, nullptr, nullptr, moments},
                          stream);
}

MomentParts od_conv_summed_mma_moments(const ConvShape& shape) {
  return MomentParts::cut(1, shape.samples * shape.out_pixels(), warp_rows);
}

std::int64_t od_conv_summed_mma_data_gradient_workspace(const ConvShape& shape, std::int64_t kernels) {
  return share_floats(product_of<false>(shape, kernels));
}

template <class Half>
void od_conv_summed_mma_data_gradient(const ConvShape& shape, const AttentionValues<float>& attention,
                                      const Half* input, const Half* weight, const Half* d_output, Half* d_input,
                                      bool accumulate, float* weighted_channel, float* weighted_kst,
                                      Half* scaled_gradient, float* workspace, Stream stream) {
  expect_od_conv_summed_mma_takes(shape);
  const Product product = product_of<false>(shape, attention.kernels);
  const Half* const source = scaled<Half>(d_output, attention.filter, scaled_gradient, shape.samples,
                                          shape.out_pixels(), shape.out_channels, stream);
  float* const shares = weighted_kst ? workspace : nullptr;
  run_product<Half, false>(shape, attention, source, weight,
                           {d_input, accumulate, input, weighted_channel, shares, nullptr}, stream);
  if (shares)
    launch_column_sums<float>(1, product.column_tiles() * column_warps * product.positions,
                              shape.samples * attention.kernels * shape.taps(), shares, 1.0, weighted_kst, false,
                              stream);
}

#define OMNICONV_INSTANTIATE(Half)                                                                                     \
  template void od_conv_summed_mma_forward(const ConvShape&, const AttentionValues<float>&, const Half*, const Half*,  \
                                           Half*, float*, Half*, Stream);                                              \
  template void od_conv_summed_mma_data_gradient(const ConvShape&, const AttentionValues<float>&, const Half*,         \
                                                 const Half*, const Half*, Half*, bool, float*, float*, Half*, float*, \
                                                 Stream);
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
