#include "kernels/od_conv_mma_weight.h"

#include <climits>

#include "kernels/dynamic.h"
#include "kernels/error.h"
#include "kernels/mma_weight.h"

namespace omniconv::kernels {

namespace {

using namespace mma;

constexpr int warps = threads / warp_size;
constexpr int out_warps = 4;  // along the output channels; two along the input channels
constexpr int tile_out = 64;
constexpr int tile_in = 32;
constexpr int warp_channels = 16;  // output and input channels of a warp's tile, which has all taps of the block
constexpr int tile_taps = 3;       // taps of a block, one above the other
constexpr int tile_shares = tile_kernels * tile_taps;
constexpr int patch = 8;  // rows and columns of the output pixels of a step
constexpr int patch_pixels = patch * patch;

struct Problem : WeightSums<tile_out, tile_in> {
  int height, width, out_height, out_width;
  int kernel_height, kernel_width, stride, padding, dilation;

  /// Blocks for all taps of a tile.
  OMNI_HOST_DEVICE int tap_tiles() const { return kernel_width * ((kernel_height + tile_taps - 1) / tile_taps); }
  /// Without stride and dilation a row of the input meets a tap where the row below meets the tap above.
  OMNI_HOST_DEVICE bool adjacent() const { return stride == 1 && dilation == 1; }
};

/// Lines of the input under a patch, each `patch` pixels wide: those of all taps where they share them, else the
/// patch's own for each tap.
template <bool Adjacent>
constexpr int input_lines = Adjacent ? patch + tile_taps - 1 : patch* tile_taps;

/// The attention of the sample of a step, for the block's tile.
struct Factors {
  float filter[tile_out], channel[tile_in], kernel[tile_kernels], spatial[tile_taps];
};
constexpr int factor_count = sizeof(Factors) / sizeof(float);

/// What lies in shared memory, in its order.
template <class Half, bool Adjacent>
struct Shared {
  Half* d_output;     // [stages, patch pixels, tile_out]
  Half* input;        // [stages, input lines, patch, tile_in]
  Factors* factors;   // [stages]
  unsigned* weights;  // [kernels, taps, threads, 4]: every thread's own fragments of W
  float* dots;        // [2, warps, tile_shares] of a sample and of the one before

  static constexpr int d_output_stage = patch_pixels * tile_out;
  static constexpr int input_stage = input_lines<Adjacent> * patch * tile_in;
  static constexpr int weight_words = tile_shares * threads * 4;

  OMNI_DEVICE Shared() {
    SharedMemory memory;
    d_output = memory.array<Half>(stages * d_output_stage);
    input = memory.array<Half>(stages * input_stage);
    factors = memory.array<Factors>(stages);
    weights = memory.array<unsigned>(weight_words);
    dots = memory.array<float>(2 * warps * tile_shares);
  }

  static constexpr std::size_t bytes() {
    return SharedSize{}
        .array<Half>(stages * d_output_stage)
        .template array<Half>(stages * input_stage)
        .template array<Factors>(stages)
        .template array<unsigned>(weight_words)
        .template array<float>(2 * warps * tile_shares)
        .bytes();
  }
};

/// What the block's threads agree on; units are samples.
struct BlockPlace : WeightTile {
  int first_row, column;  // of the taps
  int rows;               // of the taps that there are

  OMNI_DEVICE int tap(const Problem& problem, int row) const {
    return (first_row + row) * problem.kernel_width + column;
  }
};

OMNI_DEVICE BlockPlace block_place(const Problem& problem) {
  const int y = static_cast<int>(block_index().y);
  const int first_row = y / problem.kernel_width * tile_taps;
  return {WeightTile::of_this_block(problem, problem.samples), first_row, y % problem.kernel_width,
          at_most(tile_taps, problem.kernel_height - first_row)};
}

/// A sample's patch, from its first output pixel on: one step of a block.
struct Step {
  int sample, row = 0, column = 0;

  OMNI_DEVICE void advance(const Problem& problem) {
    const bool is_last = is_last_of_sample(problem);
    column += patch;
    if (column < problem.out_width) return;
    column = 0;
    row += patch;
    if (!is_last) return;
    row = 0;
    ++sample;
  }
  OMNI_DEVICE bool is_first_of_sample() const { return row == 0 && column == 0; }
  OMNI_DEVICE bool is_last_of_sample(const Problem& problem) const {
    return row + patch >= problem.out_height && column + patch >= problem.out_width;
  }
};

/// Starts the copies of a step: the patch of d_output, the input under it, and with a sample's last patch its factors.
template <class Half, bool Adjacent>
OMNI_DEVICE void fetch(const Problem& problem, const BlockPlace& place, const AttentionValues<float>& attention,
                       const Step& step, const Half* input, const Half* d_output, int stage,
                       const Shared<Half, Adjacent>& shared) {
  const std::int64_t n = step.sample;

  constexpr int out_pieces = tile_out / piece;
  const Half* const from_output = d_output + n * problem.out_height * problem.out_width * problem.out_channels;
  Half* const to_output = shared.d_output + stage * Shared<Half, Adjacent>::d_output_stage;
  for (int i = thread_rank(); i < patch_pixels * out_pieces; i += threads) {
    const int line = i / out_pieces;
    const int row = step.row + line / patch, column = step.column + line % patch;
    const int channel = place.first_out + i % out_pieces * piece;
    const bool valid = row < problem.out_height && column < problem.out_width && channel < problem.out_channels;
    const int at = (row * problem.out_width + column) * problem.out_channels + channel;
    copy_async<16>(to_output + swizzled<out_pieces>(line, i % out_pieces), from_output + (valid ? at : 0), valid);
  }

  constexpr int in_pieces = tile_in / piece;
  const Half* const from_input = input + n * problem.height * problem.width * problem.in_channels;
  Half* const to_input = shared.input + stage * Shared<Half, Adjacent>::input_stage;
  const int lines = Adjacent ? input_lines<Adjacent> : place.rows * patch;
  for (int i = thread_rank(); i < lines * patch * in_pieces; i += threads) {
    const int line = i / (patch * in_pieces), pixel = i / in_pieces % patch;
    const int out_row = step.row + (Adjacent ? line : line % patch), tap_row = Adjacent ? 0 : line / patch;
    const int row = out_row * problem.stride + (place.first_row + tap_row) * problem.dilation - problem.padding;
    const int column = (step.column + pixel) * problem.stride + place.column * problem.dilation - problem.padding;
    const int channel = place.first_in + i % in_pieces * piece;
    const bool valid = row >= 0 && row < problem.height && column >= 0 && column < problem.width &&
                       step.column + pixel < problem.out_width && channel < problem.in_channels;
    const int at = (row * problem.width + column) * problem.in_channels + channel;
    copy_async<16>(to_input + swizzled<in_pieces>(line * patch + pixel, i % in_pieces), from_input + (valid ? at : 0),
                   valid);
  }

  if (!step.is_last_of_sample(problem)) return;
  Factors& to = shared.factors[stage];
  const auto copy = [](float* target, const float* values, std::int64_t at, bool valid) {
    if (values) copy_async<4>(target, values + (valid ? at : 0), valid);
  };
  for (int i = thread_rank(); i < factor_count; i += threads) {
    if (i < tile_out) {
      const int o = place.first_out + i;
      copy(to.filter + i, attention.filter, n * problem.out_channels + o, o < problem.out_channels);
    } else if (i < tile_out + tile_in) {
      const int j = i - tile_out, channel = place.first_in + j;
      copy(to.channel + j, attention.channel, n * problem.in_channels + channel, channel < problem.in_channels);
    } else if (i < tile_out + tile_in + tile_kernels) {
      const int k = i - tile_out - tile_in;
      copy(to.kernel + k, attention.kernel, n * problem.kernels + place.first_kernel + k, k < place.kernels);
    } else {
      const int r = i - tile_out - tile_in - tile_kernels;
      copy(to.spatial + r, attention.spatial, n * problem.taps + place.tap(problem, r), r < place.rows);
    }
  }
}

/// Where the thread's parts of the tile lie: of m16n8 tiles the elements (channel, channel) of output and input, for
/// both halves of the rows and both of the warp's columns of tiles, two neighbours each.
struct ThreadPlace {
  int out_warp, in_warp, out, in;

  OMNI_DEVICE static ThreadPlace of_this_thread() {
    const int out_warp = warp_index() % out_warps, in_warp = warp_index() / out_warps;
    return {out_warp, in_warp, out_warp * warp_channels + lane_index() / 4,
            in_warp * warp_channels + lane_index() % 4 * 2};
  }
};

using Sums = Vec<float, 4>[tile_taps][2];  // of D, and of each dW_k

/// Brings the thread's own elements of W where it reads them back at every sample.
template <class Half, bool Adjacent>
OMNI_DEVICE void keep_weights(const Problem& problem, const BlockPlace& place, const Half* weight,
                              const Shared<Half, Adjacent>& shared) {
  const ThreadPlace own = ThreadPlace::of_this_thread();
  for (int k = 0; k < place.kernels; ++k) {
    for (int r = 0; r < place.rows; ++r) {
      Vec<unsigned, 4> words;
      for (int i = 0; i < 4; ++i) {
        const int o = place.first_out + own.out + i % 2 * 8, channel = place.first_in + own.in + i / 2 * 8;
        const std::int64_t line = std::int64_t{place.first_kernel + k} * problem.out_channels + o;
        const Half* const at = weight + (line * problem.taps + place.tap(problem, r)) * problem.in_channels + channel;
        const bool valid = o < problem.out_channels && channel < problem.in_channels;
        words[i] = valid ? std::bit_cast<unsigned>(load_vector<2>(at)) : 0;
      }
      store_vector(shared.weights + ((k * tile_taps + r) * threads + thread_rank()) * 4, words);
    }
  }
}

/// sums += d_output^T · input over the patch of a step, for every tap.
template <class Half, bool Adjacent>
OMNI_DEVICE void multiply(int rows, int stage, const Shared<Half, Adjacent>& shared, Sums& sums) {
  const ThreadPlace own = ThreadPlace::of_this_thread();
  const int line = lane_index() % 8, matrix = lane_index() / 8;
  const Half* const d_output = shared.d_output + stage * Shared<Half, Adjacent>::d_output_stage;
  const Half* const input = shared.input + stage * Shared<Half, Adjacent>::input_stage;
  // Eight pixels each of a line of the input and of the one below; words: upper and lower of the left eight channels,
  // upper and lower of the right.
  const auto load_input = [&](int first_line) {
    return ldmatrix<4, true>(
        input + swizzled<tile_in / piece>((first_line + matrix % 2) * patch + line, own.in_warp * 2 + matrix / 2));
  };
  Vec<unsigned, 4> x[tile_taps];
  if constexpr (Adjacent) x[0] = load_input(0);
  OMNI_UNROLL for (int row = 0; row < patch; row += 2) {
    const Vec<unsigned, 4> g = ldmatrix<4, true>(
        d_output + swizzled<tile_out / piece>((row + matrix / 2) * patch + line, own.out_warp * 2 + matrix % 2));
    if constexpr (Adjacent) {
      static_assert(tile_taps == 3);
      x[2] = load_input(row + 2);
      x[1] = {{x[0][1], x[2][0], x[0][3], x[2][2]}};
    }
    OMNI_UNROLL for (int r = 0; r < tile_taps; ++r) {
      if (r >= rows) continue;
      if constexpr (!Adjacent) x[r] = load_input(r * patch + row);
      mma_m16n8k16<Half>(sums[r][0], g, {{x[r][0], x[r][1]}});
      mma_m16n8k16<Half>(sums[r][1], g, {{x[r][2], x[r][3]}});
    }
    if constexpr (Adjacent) x[0] = x[2];
  }
}

/// The sums of 2·Width values over the lanes, by exchanging halves; of 16 values lanes 2·i and 2·i + 1 get the sum of
/// values[i].
template <int Width>
OMNI_DEVICE float sum_over_lanes(float (&values)[2 * Width]) {
  const bool upper = (lane_index() & 2 * Width) != 0;
  float halved[Width];
  OMNI_UNROLL for (int i = 0; i < Width; ++i) {
    const float low = values[i], high = values[i + Width];  // chosen from by value: an address would leave registers
    halved[i] = (upper ? high : low) + shuffle_xor(upper ? low : high, 2 * Width);
  }
  if constexpr (Width == 1)
    return halved[0] + shuffle_xor(halved[0], 1);
  else
    return sum_over_lanes<Width / 2>(halved);
}

/// Folds D into the gradients, and with the weights into the warp's share of T if `dots` are wanted; clears D.
template <class Half, bool Adjacent>
OMNI_DEVICE void fold(const BlockPlace& place, int stage, const Shared<Half, Adjacent>& shared, Sums& sums,
                      Sums (&gradients)[tile_kernels], float* dots) {
  const ThreadPlace own = ThreadPlace::of_this_thread();
  const Factors& factors = shared.factors[stage];
  OMNI_UNROLL for (int i = 0; i < 4; ++i) {
    const float filter = factors.filter[own.out + i / 2 * 8];
    OMNI_UNROLL for (int j = 0; j < 2; ++j) {
      const float factor = filter * factors.channel[own.in + j * 8 + i % 2];
      OMNI_UNROLL for (int r = 0; r < tile_taps; ++r) sums[r][j][i] *= factor;
    }
  }
  float products[16] = {};
  OMNI_UNROLL for (int k = 0; k < tile_kernels; ++k) {
    if (k >= place.kernels) continue;
    OMNI_UNROLL for (int r = 0; r < tile_taps; ++r) {
      if (r >= place.rows) continue;
      const float share = factors.kernel[k] * factors.spatial[r];
      OMNI_UNROLL for (int j = 0; j < 2; ++j) {
        OMNI_UNROLL for (int i = 0; i < 4; ++i) gradients[k][r][j][i] += share * sums[r][j][i];
      }
      if (!dots) continue;
      const auto words = load_vector<4>(shared.weights + ((k * tile_taps + r) * threads + thread_rank()) * 4);
      OMNI_UNROLL for (int i = 0; i < 4; ++i) {
        const Vec<float, 2> w = unpack<Half>(words[i]);
        const Vec<float, 4>& d = sums[r][i / 2];
        float& product = products[k * tile_taps + r];
        product += d[i % 2 * 2] * w[0];
        product += d[i % 2 * 2 + 1] * w[1];
      }
    }
  }
  OMNI_UNROLL for (int r = 0; r < tile_taps; ++r) {
    OMNI_UNROLL for (int j = 0; j < 2; ++j) sums[r][j] = {};
  }
  if (!dots) return;
  const float sum = sum_over_lanes<8>(products);
  if (lane_index() % 2 == 0 && lane_index() / 2 < tile_shares)
    dots[warp_index() * tile_shares + lane_index() / 2] = sum;
}

/// Writes the block's part of Q of a sample from the warps' dots.
OMNI_DEVICE void store_shares(const Problem& problem, const BlockPlace& place, const Dynamic<float>& dynamic,
                              std::int64_t n, const float* dots, float* shares) {
  const int k = thread_rank() / tile_taps, r = thread_rank() % tile_taps;
  if (k >= place.kernels || r >= place.rows) return;
  float dot = 0;
  for (int warp = 0; warp < warps; ++warp) dot += dots[warp * tile_shares + thread_rank()];
  const int kernel = place.first_kernel + k, tap = place.tap(problem, r);
  const std::int64_t line = (place.channel_tile * std::int64_t{problem.samples} + n) * problem.kernels + kernel;
  shares[line * problem.taps + tap] = dynamic.share(n, kernel, tap) * dot;
}

/// d_weight is that of this part of the samples, [parts, K, O, taps, I]; shares [channel tiles, N, K, taps].
template <class Half, bool Adjacent>
OMNI_KERNEL void weight_gradient_kernel(Problem problem, Dynamic<float> dynamic, const Half* input,
                                        const Half* d_output, const Half* weight, float* d_weight, bool accumulate,
                                        float* shares) {
  const Shared<Half, Adjacent> shared;
  const BlockPlace place = block_place(problem);
  const AttentionValues<float>& attention = dynamic.attention;
  fill_with_ones(shared.factors);
  if (shares) keep_weights(problem, place, weight, shared);
  barrier();

  Step coming{place.first_unit};
  int coming_stage = 0;
  const auto fetch_next = [&] {
    if (coming.sample < place.end_unit) {
      fetch(problem, place, attention, coming, input, d_output, coming_stage, shared);
      coming.advance(problem);
      coming_stage = (coming_stage + 1) % stages;
    }
    copy_commit();
  };
  for (int i = 0; i < stages - 1; ++i) fetch_next();

  Sums sums = {}, gradients[tile_kernels] = {};
  int stage = 0;
  for (Step step{place.first_unit}; step.sample < place.end_unit; step.advance(problem)) {
    copy_wait<stages - 2>();
    barrier();
    const auto dots_of = [&](int sample) { return shared.dots + sample % 2 * warps * tile_shares; };
    if (shares && step.is_first_of_sample() && step.sample > place.first_unit)
      store_shares(problem, place, dynamic, step.sample - 1, dots_of(step.sample - 1), shares);
    fetch_next();
    multiply(place.rows, stage, shared, sums);
    if (step.is_last_of_sample(problem))
      fold(place, stage, shared, sums, gradients, shares ? dots_of(step.sample) : nullptr);
    stage = (stage + 1) % stages;
  }
  if (shares && place.first_unit < place.end_unit) {
    barrier();
    const int last = place.end_unit - 1;
    store_shares(problem, place, dynamic, last, shared.dots + last % 2 * warps * tile_shares, shares);
  }

  if (d_weight == nullptr) return;
  const ThreadPlace own = ThreadPlace::of_this_thread();
  OMNI_UNROLL for (int k = 0; k < tile_kernels; ++k) {
    OMNI_UNROLL for (int r = 0; r < tile_taps; ++r) {
      if (k < place.kernels && r < place.rows)
        store_gradient(problem, place, k, place.tap(problem, r), place.first_out + own.out, place.first_in + own.in,
                       gradients[k][r], d_weight, accumulate);
    }
  }
}

Problem problem_of(const ConvShape& shape, std::int64_t kernels) {
  Problem problem{WeightSums<tile_out, tile_in>::of(shape, kernels),
                  narrow(shape.height),
                  narrow(shape.width),
                  narrow(shape.out_height()),
                  narrow(shape.out_width()),
                  narrow(shape.kernel_height),
                  narrow(shape.kernel_width),
                  narrow(shape.params.stride),
                  narrow(shape.params.padding),
                  narrow(shape.params.dilation)};
  problem.cut(problem.tap_tiles(), problem.samples);
  return problem;
}

/// Floats of the parts of Q. They come behind the parts' gradients, which need the workspace's alignment.
std::int64_t share_floats(const Problem& problem) {
  return std::int64_t{problem.channel_tiles()} * problem.samples * problem.kernels * problem.taps;
}

}  // namespace

bool od_conv_mma_weight_gradient_takes(const ConvShape& shape) {
  const bool adjacent = shape.params.stride == 1 && shape.params.dilation == 1;
  const std::size_t bytes = adjacent ? Shared<bf16, true>::bytes() : Shared<bf16, false>::bytes();
  return shape.params.groups == 1 && shape.in_channels % piece == 0 && shape.out_channels % piece == 0 &&
         bytes <= shared_bytes_limit() && shape.in_pixels() * shape.in_channels <= INT_MAX &&
         shape.out_pixels() * shape.out_channels <= INT_MAX;  // the kernel counts elements of a sample in int
}

std::int64_t od_conv_mma_weight_gradient_workspace(const ConvShape& shape, std::int64_t kernels) {
  const Problem problem = problem_of(shape, kernels);
  return problem.part_floats() + share_floats(problem);
}

template <class Half>
void od_conv_mma_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const Half* input,
                                 const Half* d_output, const Half* weight, float* d_weight, bool accumulate,
                                 float* weighted_kst, float* workspace, Stream stream) {
  expect(od_conv_mma_weight_gradient_takes(shape), "od_conv_mma", "expected one group and multiples of ", piece,
         " channels, got ", shape.params.groups, " groups of ", shape.group_in(), " and ", shape.group_out(),
         " channels");
  const Problem problem = problem_of(shape, attention.kernels);
  float* const shares = weighted_kst ? workspace + problem.part_floats() : nullptr;
  const Dynamic<float> dynamic = dynamic_of<float>(shape, attention, nullptr);
  problem.add_up(d_weight, accumulate, workspace, stream, [&](float* sums, bool add) {
    const auto start = [&](auto adjacent) {
      launch(weight_gradient_kernel<Half, adjacent>, problem.grid(problem.tap_tiles()), {threads},
             Shared<Half, adjacent>::bytes(), stream, problem, dynamic, input, d_output, weight, sums, add, shares);
    };
    if (problem.adjacent())
      start(std::true_type{});
    else
      start(std::false_type{});
  });
  if (shares)
    launch_column_sums<float>(1, problem.channel_tiles(), shape.samples * attention.kernels * shape.taps(), shares, 1.0,
                              weighted_kst, false, stream);
}

#define OMNICONV_INSTANTIATE(Half)                                                                                     \
  template void od_conv_mma_weight_gradient(const ConvShape&, const AttentionValues<float>&, const Half*, const Half*, \
                                            const Half*, float*, bool, float*, float*, Stream);
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
