#include "kernels/dynamic.h"
#include "kernels/mma_weight.h"
#include "kernels/od_conv_summed_mma.h"

namespace omniconv::kernels {

namespace {

using namespace mma;

constexpr int out_warps = 2;  // along the output channels; four along the input channels
constexpr int tile_out = 128;
constexpr int tile_in = 64;
constexpr int warp_out = tile_out / out_warps;
constexpr int warp_in = 16;
constexpr int group = 32;  // samples of a step, which has one position
constexpr int most_pixels = 64;

struct Problem : WeightSums<tile_out, tile_in> {
  int in_pixels, out_pixels;

  OMNI_HOST_DEVICE int sample_groups() const { return (samples + group - 1) / group; }
};

/// The pixels that meet at the block's tap.
struct Meeting {
  int out_pixel, in_pixel;
};

/// What q of a step's samples is made of.
struct Factors {
  float kernel[tile_kernels][group], spatial[group];
};
constexpr int factor_count = sizeof(Factors) / sizeof(float);

/// What lies in shared memory, in its order.
template <class Half>
struct Shared {
  Meeting* meetings;  // [most_pixels]
  Half* d_output;     // [stages, group, tile_out]
  Half* input;        // [stages, group, tile_in]
  Factors* factors;   // [stages]

  OMNI_DEVICE Shared() {
    SharedMemory memory;
    meetings = memory.array<Meeting>(most_pixels);
    d_output = memory.array<Half>(stages * group * tile_out);
    input = memory.array<Half>(stages * group * tile_in);
    factors = memory.array<Factors>(stages);
  }

  static constexpr std::size_t bytes() {
    return SharedSize{}
        .array<Meeting>(most_pixels)
        .template array<Half>(stages * group * tile_out)
        .template array<Half>(stages * group * tile_in)
        .template array<Factors>(stages)
        .bytes();
  }
};

/// What the block's threads agree on; units are groups of samples.
struct BlockPlace : WeightTile {
  int tap;
};

OMNI_DEVICE BlockPlace block_place(const Problem& problem) {
  return {WeightTile::of_this_block(problem, problem.sample_groups()), static_cast<int>(block_index().y)};
}

/// Lists the pixels that meet at the tap, in the order of the output's, and counts them.
OMNI_DEVICE int list_meetings(const Problem& problem, const Geometry& geometry, int tap, Meeting* meetings) {
  int count = 0;
  for (int p = 0; p < problem.out_pixels; ++p) {
    const int pixel = static_cast<int>(geometry.input_pixel(p, tap));
    if (pixel < 0) continue;
    if (thread_rank() == 0) meetings[count] = {p, pixel};
    ++count;
  }
  return count;
}

/// Starts the copies of a step: samples of both operands at one meeting, and what their q is made of.
template <class Half>
OMNI_DEVICE void fetch(const Problem& problem, const BlockPlace& place, const AttentionValues<float>& attention,
                       int sample_group, const Meeting& meeting, const Half* input, const Half* d_output, int stage,
                       const Shared<Half>& shared) {
  const int first_sample = sample_group * group;
  const auto copy_tile = [&](auto line_pieces, const Half* from, int pixels, int pixel, int channels, int first_channel,
                             Half* to) {
    for (int i = thread_rank(); i < group * line_pieces; i += threads) {
      const int line = i / line_pieces, channel = first_channel + i % line_pieces * piece;
      const bool valid = first_sample + line < problem.samples && channel < channels;
      const std::int64_t at = (std::int64_t{first_sample + line} * pixels + pixel) * channels + channel;
      copy_async<16>(to + swizzled<line_pieces>(line, i % line_pieces), from + (valid ? at : 0), valid);
    }
  };
  copy_tile(std::integral_constant<int, tile_out / piece>{}, d_output, problem.out_pixels, meeting.out_pixel,
            problem.out_channels, place.first_out, shared.d_output + stage * group * tile_out);
  copy_tile(std::integral_constant<int, tile_in / piece>{}, input, problem.in_pixels, meeting.in_pixel,
            problem.in_channels, place.first_in, shared.input + stage * group * tile_in);

  Factors& factors = shared.factors[stage];
  for (int i = thread_rank(); i < factor_count; i += threads) {
    const int k = i / group;
    const std::int64_t n = first_sample + i % group;
    const bool present = n < problem.samples;
    if (k == tile_kernels) {
      if (attention.spatial)
        copy_async<4>(factors.spatial + i % group, attention.spatial + (present ? n * problem.taps + place.tap : 0),
                      present);
    } else if (attention.kernel && k < place.kernels) {
      copy_async<4>(factors.kernel[k] + i % group,
                    attention.kernel + (present ? n * problem.kernels + place.first_kernel + k : 0), present);
    }
  }
}

using Sums = Vec<float, 4>[warp_out / 16][warp_in / 8];  // of a kernel's gradient, in a warp

struct WarpPlace {
  int out, in;  // first channels of the warp's part of the tile

  OMNI_DEVICE static WarpPlace of_this_thread() {
    return {warp_index() % out_warps * warp_out, warp_index() / out_warps * warp_in};
  }
};

/// sums[k] += d_output^T · (q_k ⊙ input) over the samples of a step.
template <class Half>
OMNI_DEVICE void multiply(int kernels, int stage, const Shared<Half>& shared, Sums (&sums)[tile_kernels]) {
  const WarpPlace own = WarpPlace::of_this_thread();
  const int line = lane_index() % 8, matrix = lane_index() / 8, pair = lane_index() % 4 * 2;
  const Half* const d_output = shared.d_output + stage * group * tile_out;
  const Half* const input = shared.input + stage * group * tile_in;
  const Factors& factors = shared.factors[stage];
  OMNI_UNROLL for (int first = 0; first < group; first += 16) {
    Vec<unsigned, 4> g[warp_out / 16];
    OMNI_UNROLL for (int m = 0; m < warp_out / 16; ++m) {
      g[m] = ldmatrix<4, true>(d_output + swizzled<tile_out / piece>(first + matrix / 2 * 8 + line,
                                                                     (own.out + m * 16) / piece + matrix % 2));
    }
    // Words: samples `pair` and the next one of the upper and of the lower eight, of the left channels and the right.
    const Vec<unsigned, 4> words = ldmatrix<4, true>(
        input + swizzled<tile_in / piece>(first + matrix % 2 * 8 + line, own.in / piece + matrix / 2));
    Vec<float, 2> x[4], spatial[2];
    OMNI_UNROLL for (int i = 0; i < 4; ++i) x[i] = unpack<Half>(words[i]);
    OMNI_UNROLL for (int i = 0; i < 2; ++i) spatial[i] = load_vector<2>(factors.spatial + first + i * 8 + pair);
    OMNI_UNROLL for (int k = 0; k < tile_kernels; ++k) {
      if (k >= kernels) continue;
      Vec<unsigned, 4> weighted;
      OMNI_UNROLL for (int i = 0; i < 2; ++i) {
        const Vec<float, 2> p = load_vector<2>(factors.kernel[k] + first + i * 8 + pair);
        const float low = p[0] * spatial[i][0], high = p[1] * spatial[i][1];
        weighted[i] = pack<Half>(low * x[i][0], high * x[i][1]);
        weighted[i + 2] = pack<Half>(low * x[i + 2][0], high * x[i + 2][1]);
      }
      OMNI_UNROLL for (int m = 0; m < warp_out / 16; ++m) {
        mma_m16n8k16<Half>(sums[k][m][0], g[m], {{weighted[0], weighted[1]}});
        mma_m16n8k16<Half>(sums[k][m][1], g[m], {{weighted[2], weighted[3]}});
      }
    }
  }
}

/// d_weight is that of this part of the samples, [parts, K, O, taps, I].
template <class Half>
OMNI_KERNEL void summed_weight_gradient_kernel(Problem problem, Geometry geometry, AttentionValues<float> attention,
                                               const Half* input, const Half* d_output, float* d_weight,
                                               bool accumulate) {
  const Shared<Half> shared;
  const BlockPlace place = block_place(problem);
  const int meetings = list_meetings(problem, geometry, place.tap, shared.meetings);
  fill_with_ones(shared.factors);
  barrier();

  const int steps = (place.end_unit - place.first_unit) * meetings;
  int coming_group = place.first_unit, coming_meeting = 0, coming_stage = 0;
  const auto fetch_next = [&] {
    if (meetings > 0 && coming_group < place.end_unit) {
      fetch(problem, place, attention, coming_group, shared.meetings[coming_meeting], input, d_output, coming_stage,
            shared);
      coming_stage = (coming_stage + 1) % stages;
      if (++coming_meeting == meetings) {
        coming_meeting = 0;
        ++coming_group;
      }
    }
    copy_commit();
  };
  for (int i = 0; i < stages - 1; ++i) fetch_next();

  Sums sums[tile_kernels] = {};
  int stage = 0;
  for (int step = 0; step < steps; ++step) {
    copy_wait<stages - 2>();
    barrier();
    fetch_next();
    multiply(place.kernels, stage, shared, sums);
    stage = (stage + 1) % stages;
  }

  const WarpPlace own = WarpPlace::of_this_thread();
  const int out = place.first_out + own.out + lane_index() / 4, in = place.first_in + own.in + lane_index() % 4 * 2;
  OMNI_UNROLL for (int k = 0; k < tile_kernels; ++k) {
    OMNI_UNROLL for (int m = 0; m < warp_out / 16; ++m) {
      if (k < place.kernels)
        store_gradient(problem, place, k, place.tap, out + m * 16, in, sums[k][m], d_weight, accumulate);
    }
  }
}

Problem problem_of(const ConvShape& shape, std::int64_t kernels) {
  Problem problem{WeightSums<tile_out, tile_in>::of(shape, kernels), narrow(shape.in_pixels()),
                  narrow(shape.out_pixels())};
  problem.cut(problem.taps, problem.sample_groups());
  return problem;
}

}  // namespace

std::int64_t od_conv_summed_mma_weight_gradient_workspace(const ConvShape& shape, std::int64_t kernels) {
  return problem_of(shape, kernels).part_floats();
}

template <class Half>
void od_conv_summed_mma_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention,
                                        const Half* input, const Half* d_output, float* d_weight, bool accumulate,
                                        Half* scaled_input, Half* scaled_gradient, float* workspace, Stream stream) {
  expect_od_conv_summed_mma_takes(shape);
  const Problem problem = problem_of(shape, attention.kernels);
  const Half* const x =
      scaled(input, attention.channel, scaled_input, shape.samples, shape.in_pixels(), shape.in_channels, stream);
  const Half* const g = scaled(d_output, attention.filter, scaled_gradient, shape.samples, shape.out_pixels(),
                               shape.out_channels, stream);
  problem.add_up(d_weight, accumulate, workspace, stream, [&](float* sums, bool add) {
    launch(summed_weight_gradient_kernel<Half>, problem.grid(problem.taps), {threads}, Shared<Half>::bytes(), stream,
           problem, geometry_of(shape), attention, x, g, sums, add);
  });
}

#define OMNICONV_INSTANTIATE(Half)                                                                               \
  template void od_conv_summed_mma_weight_gradient(const ConvShape&, const AttentionValues<float>&, const Half*, \
                                                   const Half*, float*, bool, Half*, Half*, float*, Stream);
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
