#include "kernels/od_conv_mma.h"

#include <algorithm>
#include <climits>
#include <limits>
#include <optional>

#include "kernels/error.h"
#include "kernels/mma_work.h"

namespace omniconv::kernels {

namespace {

using namespace mma;

/// The thread's piece of Σ_k q_nk W_k, scaled along the inner channels, for every sample.
template <class Half, class Tiling, bool Forward>
OMNI_DEVICE void aggregate(const Product& product, const Shared<Half, Tiling>& shared, int chunk, int tap,
                           const Half* kernels, Half* to) {
  const auto own = WeightPiece::of_this_thread<Forward>();
  float sums[Tiling::samples][piece] = {};
  const int at = swizzled<weight_line_pieces<Forward>>(own.line, own.piece_of_line);
  kernels += at;
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
    store_vector(to + g * tile_weights + at, std::bit_cast<Vec<Half, piece>>(words));
  }
}

/// Fragments of the warp's columns of a tile of weights: for both halves of the depth, four of B.
template <class Half, bool Forward>
OMNI_DEVICE void load_weights(const Half* tile, int first_column, Vec<unsigned, 2> (&b)[2][4]) {
  OMNI_UNROLL for (int half = 0; half < 2; ++half) {
    OMNI_UNROLL for (int pair = 0; pair < 2; ++pair) {
      const Vec<unsigned, 4> words = ldmatrix<4, !Forward>(tile + weight_row<Forward>(first_column + pair * 16, half));
      b[half][2 * pair] = {{words[0], words[1]}};
      b[half][2 * pair + 1] = {{words[2], words[3]}};
    }
  }
}
// Step s multiplies the tile of weights that step s - 1 has aggregated, while the kernels of s + 2 are on their way.
// One barrier a step: in front of it all threads have aggregated their piece and have done with the step before.
template <class Half, class Tiling, bool Forward>
OMNI_KERNEL void shared_kernel(Product product, AttentionValues<float> attention, Layout layout, const Half* source,
                               const Half* weight, Result<Half> result) {
  Work<Half, Tiling, Forward> work(product, attention, layout, source, weight);
  const int first_column = warp_index() / row_warps * warp_columns;
  const auto weights_of = [&](int step) { return work.shared.weights + step % 2 * Tiling::samples * tile_weights; };
  Step aggregated;
  const auto aggregate_step = [&](int step) {
    if (step >= work.steps) return;
    aggregate<Half, Tiling, Forward>(product, work.shared, aggregated.chunk, work.shared.taps[aggregated.tap].number,
                                     work.kernels_of(step), weights_of(step));
    aggregated.advance(work.taps);
  };

  Vec<float, 4> sums[Tiling::row_tiles][4] = {};
  if (work.steps > 0) {
    work.start();
    work.await_copies();
    aggregate_step(0);
  }
  for (int step = 0; step < work.steps; ++step) {
    work.begin(step);
    const Tap tap = work.shared.taps[work.multiplied.tap];
    const Half* const pixels = work.source_of(work.multiplied.chunk);
    Vec<unsigned, 2> b[2][4];
    load_weights<Half, Forward>(weights_of(step) + work.sample() * tile_weights, first_column, b);
    OMNI_UNROLL for (int m = 0; m < Tiling::row_tiles; ++m) {
      const auto line = work.line_of(m, tap);
      OMNI_UNROLL for (int half = 0; half < 2; ++half) {
        const Vec<unsigned, 4> a = work.load_rows(pixels, line, half);
        OMNI_UNROLL for (int j = 0; j < 4; ++j) mma_m16n8k16<Half>(sums[m][j], a, b[half][j]);
      }
    }
    work.multiplied.advance(work.taps);
    work.await_copies();
    aggregate_step(step + 1);
  }
  copy_wait<0>();
  store<Half, Tiling, Forward>(product, attention, work.place, result, sums, work.shared.dots);
}

/// Fragments of B of 16 columns, aggregated for one sample in f32 and rounded once: `half` of the depth of the tile's
/// columns from `column` on. `scale` are those of the lane's rows of B: (pair, pair + 1, pair + 8, pair + 9).
template <class Half, bool Forward>
OMNI_DEVICE Vec<unsigned, 4> aggregate_columns(const Product& product, const Half* kernels, const float* share,
                                               const float (&scale)[4], int column, int half) {
  const int at = weight_row<Forward>(column, half);
  float sums[4][2] = {};
  for (int k = 0; k < product.kernels; ++k, kernels += tile_weights, share += product.taps()) {
    const Vec<unsigned, 4> words = ldmatrix<4, !Forward>(kernels + at);
    const float q = *share;
    OMNI_UNROLL for (int i = 0; i < 4; ++i) {
      const Vec<float, 2> values = unpack<Half>(words[i]);
      sums[i][0] += q * values[0];
      sums[i][1] += q * values[1];
    }
  }
  Vec<unsigned, 4> result;
  OMNI_UNROLL for (int i = 0; i < 4; ++i) result[i] =
      pack<Half>(sums[i][0] * scale[i % 2 * 2], sums[i][1] * scale[i % 2 * 2 + 1]);
  return result;
}

// Two warps have a sample: each takes one half of the depth of all columns and aggregates the weights it needs in its
// registers, from kernels that four samples share. In the end each gets half of the columns.
template <class Half, class Tiling, bool Forward>
OMNI_KERNEL void register_kernel(Product product, AttentionValues<float> attention, Layout layout, const Half* source,
                                 const Half* weight, Result<Half> result) {
  static_assert(Tiling::in_registers);
  constexpr int pairs = tile_columns / 16;
  Work<Half, Tiling, Forward> work(product, attention, layout, source, weight);
  const int half = warp_index() / row_warps, pair = lane_index() % 4 * 2;
  const float* const shares = work.shared.shares + work.sample() * product.kernels * product.taps();
  const float* const scales = work.shared.scale + work.sample() * product.chunks() * depth + half * 16 + pair;

  Vec<float, 4> sums[Tiling::row_tiles][2 * pairs] = {};
  if (work.steps > 0) work.start();
  for (int step = 0; step < work.steps; ++step) {
    work.await_copies();
    work.begin(step);
    const Tap tap = work.shared.taps[work.multiplied.tap];
    const Half* const pixels = work.source_of(work.multiplied.chunk);
    const float* const scale_at = scales + work.multiplied.chunk * depth;
    const float scale[4] = {scale_at[0], scale_at[1], scale_at[8], scale_at[9]};
    Vec<unsigned, 4> a[Tiling::row_tiles];
    OMNI_UNROLL for (int m = 0; m < Tiling::row_tiles; ++m) a[m] = work.load_rows(pixels, work.line_of(m, tap), half);
    OMNI_UNROLL for (int j = 0; j < pairs; ++j) {
      const Vec<unsigned, 4> b =
          aggregate_columns<Half, Forward>(product, work.kernels_of(step), shares + tap.number, scale, j * 16, half);
      OMNI_UNROLL for (int m = 0; m < Tiling::row_tiles; ++m) {
        mma_m16n8k16<Half>(sums[m][2 * j], a[m], {{b[0], b[1]}});
        mma_m16n8k16<Half>(sums[m][2 * j + 1], a[m], {{b[2], b[3]}});
      }
    }
    work.multiplied.advance(work.taps);
  }
  copy_wait<0>();

  // By single floats, which are picked by value: an array that is addressed by `half` would leave the registers.
  const auto picked = [half](float lower, float upper) { return half == 0 ? lower : upper; };
  Vec<float, 4> whole[Tiling::row_tiles][pairs];
  const int partner = thread_rank() ^ row_warps * warp_size;
  OMNI_UNROLL for (int m = 0; m < Tiling::row_tiles; ++m) {
    OMNI_UNROLL for (int j = 0; j < pairs; ++j) {
      Vec<float, 4> others;
      OMNI_UNROLL for (int i = 0; i < 4; ++i) others[i] = picked(sums[m][pairs + j][i], sums[m][j][i]);
      store_vector(work.shared.halves + (j * threads + thread_rank()) * 4, others);
    }
    barrier();
    OMNI_UNROLL for (int j = 0; j < pairs; ++j) {
      const auto received = load_vector<4>(work.shared.halves + (j * threads + partner) * 4);
      OMNI_UNROLL for (int i = 0; i < 4; ++i) whole[m][j][i] =
          picked(sums[m][j][i], sums[m][pairs + j][i]) + received[i];
    }
    barrier();
  }
  store<Half, Tiling, Forward>(product, attention, work.place, result, whole, work.shared.dots);
}

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
    const auto kernel = [] {
      if constexpr (Tiling::in_registers)
        return register_kernel<Half, Tiling, Forward>;
      else
        return shared_kernel<Half, Tiling, Forward>;
    };
    launch(kernel(), {static_cast<unsigned>(blocks)}, {threads}, layout.shared_bytes, stream, product, attention,
           layout, source, weight, result);
  });
}

}  // namespace

bool od_conv_mma_takes(const ConvShape& shape, std::int64_t kernels) {
  const Conv2dParams& params = shape.params;
  if (params.groups != 1 || shape.in_channels % piece != 0 || shape.out_channels % piece != 0) return false;
  if (shape.weight_count() > INT_MAX) return false;  // the copies count a kernel's elements in int
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
                         const Half* weight, Half* output, float* moments, Stream stream) {
  run<Half, true>(shape, attention, input, weight, {output, nullptr, nullptr, false, moments}, stream);
}

MomentParts od_conv_mma_moments(const ConvShape& shape, std::int64_t kernels) {
  MomentParts parts;
  with_layout(product_of(shape, kernels, true), [&](auto tile, const Layout&) {
    parts = MomentParts::cut(shape.samples, shape.out_pixels(), decltype(tile)::sample_rows);
  });
  return parts;
}

std::int64_t od_conv_mma_dot_parts(const ConvShape& shape, std::int64_t kernels) {
  const Product product = product_of(shape, kernels, false);
  std::int64_t parts = 0;
  with_layout(product,
              [&](auto, const Layout& layout) { parts = std::int64_t{layout.pixel_tiles} * product.classes(); });
  return parts;
}

template <class Half>
void od_conv_mma_data_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                               const Half* weight, const Half* d_output, Half* d_input, bool accumulate,
                               float* weighted_channel, Stream stream) {
  run<Half, false>(shape, attention, d_output, weight,
                   {d_input, weighted_channel ? input : nullptr, weighted_channel, accumulate, nullptr}, stream);
}

#define OMNICONV_INSTANTIATE(T)                                                                                      \
  template void od_conv_mma_forward(const ConvShape&, const AttentionValues<float>&, const T*, const T*, T*, float*, \
                                    Stream);                                                                         \
  template void od_conv_mma_data_gradient(const ConvShape&, const AttentionValues<float>&, const T*, const T*,       \
                                          const T*, T*, bool, float*, Stream);
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
