#include "engine/conv/blocked_cpu.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "engine/conv/attention_parts_cpu.h"
#include "engine/conv/folded_weight_cpu.h"
#include "engine/library/packed_conv_cpu.h"
#include "engine/library/parallel_cpu.h"
#include "engine/tensor.h"

namespace omniconv::conv {

namespace {

using library::PackedConv;
using library::parallel_units;
using library::TapRun;
using library::ThreadScratch;
using Attention = AttentionValues<float>;

// Weights (of one kernel) in a slice: with the K slices they come from and the sample's activations they fit the
// second-level cache of current server cores (1 MB and more).
constexpr std::int64_t slice_weights = 48 * 1024;
constexpr std::int64_t slice_granularity = 16;
constexpr std::int64_t samples_per_unit = 8;
// Independent partial sums of a grouped weight gradient: enough to keep that many threads busy.
constexpr std::int64_t gradient_units = 8;
constexpr std::int64_t static_minibatch = 8;

bool has_attention(const Attention& a) {
  return a.channel || a.filter || a.spatial || a.kernel;
}

/// The largest divisor of `channels` that is a multiple of the granularity, keeps a slice small and makes `least`
/// slices; the smallest one if none does, all channels if there is none or the convolution is grouped.
std::int64_t slice_of(const ConvShape& shape, std::int64_t channels, std::int64_t least = 1) {
  if (shape.params.groups > 1) return channels;
  const std::int64_t weights_per_channel = shape.weight_count() / channels;
  std::int64_t best = channels;
  for (std::int64_t slice = channels; slice >= slice_granularity; slice -= slice_granularity) {
    if (channels % slice != 0 || slice % slice_granularity != 0) continue;
    best = slice;
    if (slice * weights_per_channel <= slice_weights && slice * least <= channels) break;
  }
  return best;
}

/// target[e] (+)= Σ_j q_j packed[j][e] for `Kernels` packed kernels that lie `stride` apart.
template <int Kernels, bool Accumulate>
void combine(const float* __restrict packed, std::int64_t stride, const float* shares, std::int64_t share_stride,
             float* __restrict target, std::int64_t count) {
  float q[Kernels];
  for (int j = 0; j < Kernels; ++j) q[j] = shares[j * share_stride];
#pragma omp simd
  for (std::int64_t e = 0; e < count; ++e) {
    float sum = Accumulate ? target[e] : 0.0f;
    for (int j = 0; j < Kernels; ++j) sum += q[j] * packed[j * stride + e];
    target[e] = sum;
  }
}

/// aggregated = Σ_k q_k ⊙ W_k in the packed layout.
void aggregate(const std::vector<TapRun>& runs, const float* packed, std::int64_t packed_count, std::int64_t kernels,
               std::int64_t taps, const float* shares, float* aggregated) {
  for (const TapRun& run : runs) {
    const float* first = packed + run.first;
    const float* q = shares + run.tap;
    float* target = aggregated + run.first;
    std::int64_t k = kernels % 4;
    switch (k) {
      case 0:
        combine<4, false>(first, packed_count, q, taps, target, run.count);
        k = 4;
        break;
      case 1:
        combine<1, false>(first, packed_count, q, taps, target, run.count);
        break;
      case 2:
        combine<2, false>(first, packed_count, q, taps, target, run.count);
        break;
      default:
        combine<3, false>(first, packed_count, q, taps, target, run.count);
        break;
    }
    for (; k < kernels; k += 4)
      combine<4, true>(first + k * packed_count, packed_count, q + k * taps, taps, target, run.count);
  }
}

/// gradient += q D over one tap's run.
void add_scaled(const float* __restrict d, float q, float* __restrict gradient, std::int64_t count) {
#pragma omp simd
  for (std::int64_t e = 0; e < count; ++e) gradient[e] += q * d[e];
}

float dot(const float* __restrict a, const float* __restrict b, std::int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t e = 0; e < count; ++e) sum += a[e] * b[e];
  return sum;
}

/// Folds a sample's D into the gradients of all kernels and, unless nullptr, into dots[k, t] += <D_t, W_kt>.
void fold_all(const std::vector<TapRun>& runs, const float* d, const float* packed, float* gradient,
              std::int64_t packed_count, std::int64_t kernels, std::int64_t taps, const float* shares, float* dots) {
  for (const TapRun& run : runs)
    for (std::int64_t k = 0; k < kernels; ++k) {
      const std::int64_t first = k * packed_count + run.first, index = k * taps + run.tap;
      add_scaled(d + run.first, shares[index], gradient + first, run.count);
      if (dots) dots[index] += dot(d + run.first, packed + first, run.count);
    }
}

/// values ⊙ scale of sample n in the thread's scratch, or values themselves where scale is absent. values [N, pixels,
/// channels], scale [N, channels].
const float* scaled_sample(const float* values, const float* scale, std::int64_t n, std::int64_t pixels,
                           std::int64_t channels, ThreadScratch::Slot scratch) {
  const float* from = values + n * pixels * channels;
  if (!scale) return from;
  const float* const factors = scale + n * channels;
  float* const target = ThreadScratch::get(scratch, pixels * channels);
  for (std::int64_t p = 0; p < pixels; ++p, from += channels)
    for (std::int64_t j = 0; j < channels; ++j) target[p * channels + j] = from[j] * factors[j];
  return target;
}

/// Packs all slices of all kernels for one direction. `unit` is the convolution of one slice; slices cut the output
/// channels, or with `slice_input` the input channels.
PackedSlices pack_slices(PackedConv::Direction direction, const ConvShape& shape, const ConvShape& unit,
                         bool slice_input, std::int64_t kernels, const float* weight) {
  PackedSlices slices;
  slices.width = slice_input ? unit.in_channels : unit.out_channels;
  slices.count = (slice_input ? shape.in_channels : shape.out_channels) / slices.width;
  parallel_units(1, [&](std::int64_t) { slices.packed_count = PackedConv::get(direction, unit).packed_count(); });
  slices.packed = Tensor::empty({slices.count, kernels, slices.packed_count}, DType::f32);
  const std::int64_t row = shape.group_in();
  const std::int64_t slice_step = slices.width * (slice_input ? 1 : shape.taps() * row);
  parallel_units(slices.count * kernels, [&](std::int64_t index) {
    const std::int64_t slice = index / kernels;
    const std::int64_t k = index % kernels;
    PackedConv::get(direction, unit)
        .pack(weight + k * shape.weight_count() + slice * slice_step, row,
              slices.slice(slice, kernels) + k * slices.packed_count);
  });
  return slices;
}

/// The weights for one sample: the packed kernel itself where nothing scales it, else the aggregate in scratch.
float* sample_weights(const PackedConv& conv, const ConvShape& shape, const Attention& attention, std::int64_t n,
                      float* packed, std::vector<float>& shares) {
  if (!attention.spatial && !attention.kernel) return packed;
  sample_shares(shape, attention, n, shares);
  float* aggregated = ThreadScratch::get(ThreadScratch::aggregated, conv.packed_count());
  aggregate(conv.runs(), packed, conv.packed_count(), attention.kernels, shape.taps(), shares.data(), aggregated);
  return aggregated;
}

/// The most samples per call, up to static_minibatch, that divide both chunk lengths: one layout serves all calls.
std::int64_t common_minibatch(std::int64_t chunk, std::int64_t last_chunk) {
  const std::int64_t common = std::gcd(chunk, last_chunk);
  std::int64_t minibatch = std::min(static_minibatch, common);
  while (common % minibatch != 0) --minibatch;
  return minibatch;
}

/// Unit convolution: one sample (a few where nothing differs between samples), a slice of the channels.
ConvShape unit_of(const ConvShape& shape, std::int64_t samples, std::int64_t in_channels, std::int64_t out_channels) {
  ConvShape unit = shape;
  unit.samples = samples;
  unit.in_channels = in_channels;
  unit.out_channels = out_channels;
  return unit;
}

/// Writes the channels [first, first + width) of the output: filter attention, then the epilogue.
class OutputSlice {
 public:
  OutputSlice(const ConvShape& shape, std::int64_t first, std::int64_t width, const Epilogue<float>& epilogue)
      : shape_(shape),
        first_(first),
        width_(width),
        epilogue_(epilogue),
        factor_(static_cast<std::size_t>(width), 1.0f),
        shift_(static_cast<std::size_t>(width), 0.0f) {
    if (epilogue.scale) std::copy_n(epilogue.scale + first, width, factor_.begin());
    if (epilogue.shift) std::copy_n(epilogue.shift + first, width, shift_.begin());
  }

  /// `result` [pixels, width] of sample n, which may lie in `output` [N, OH, OW, O] already.
  void write(std::int64_t n, const float* result, const float* filter, float* output) {
    const std::int64_t channels = shape_.out_channels, pixels = shape_.out_pixels();
    const std::int64_t start = n * pixels * channels + first_;
    const float* f = filter ? filter + n * channels + first_ : nullptr;
    if (epilogue_.empty()) {
      if (f || result != output + start) copy(result, f, output + start);
      return;
    }
    std::vector<float> factor = factor_;
    if (f)
      for (std::size_t j = 0; j < factor.size(); ++j) factor[j] *= f[j];
    const float* residual = epilogue_.residual ? epilogue_.residual + start : nullptr;
    if (residual)
      affine<true>(result, factor.data(), residual, output + start);
    else
      affine<false>(result, factor.data(), nullptr, output + start);
  }

 private:
  void copy(const float* result, const float* f, float* target) const {
    for (std::int64_t p = 0; p < shape_.out_pixels(); ++p) {
      const float* from = result + p * width_;
      float* to = target + p * shape_.out_channels;
      if (f) {
        for (std::int64_t j = 0; j < width_; ++j) to[j] = from[j] * f[j];
      } else {
        std::copy(from, from + width_, to);
      }
    }
  }
  template <bool Residual>
  void affine(const float* result, const float* factor, const float* residual, float* target) const {
    const float floor = epilogue_.relu ? 0.0f : -std::numeric_limits<float>::infinity();
    const float* shift = shift_.data();
    for (std::int64_t p = 0; p < shape_.out_pixels(); ++p) {
      const float* from = result + p * width_;
      float* to = target + p * shape_.out_channels;
#pragma GCC ivdep
      for (std::int64_t j = 0; j < width_; ++j) {
        float value = from[j] * factor[j] + shift[j];
        if constexpr (Residual) value += residual[p * shape_.out_channels + j];
        to[j] = value < floor ? floor : value;  // NaN stays
      }
    }
  }

  const ConvShape& shape_;
  std::int64_t first_, width_;
  const Epilogue<float>& epilogue_;
  std::vector<float> factor_, shift_;
};

}  // namespace

PackedSlices pack_forward(const ConvShape& shape, std::int64_t kernels, const float* weight,
                          std::int64_t least_slices) {
  const ConvShape unit = unit_of(shape, 1, shape.in_channels, slice_of(shape, shape.out_channels, least_slices));
  return pack_slices(PackedConv::Direction::forward, shape, unit, false, kernels, weight);
}

void blocked_forward(const ConvShape& shape, const Attention& attention, const float* input, const PackedSlices& slices,
                     const Epilogue<float>& epilogue, float* output) {
  const ConvShape unit = unit_of(shape, 1, shape.in_channels, slices.width);
  const std::int64_t groups = (shape.samples + samples_per_unit - 1) / samples_per_unit;
  const std::int64_t out_pixels = shape.out_pixels();
  parallel_units(slices.count * groups, [&](std::int64_t index) {
    const std::int64_t slice = index / groups;
    const std::int64_t first = index % groups * samples_per_unit;
    const PackedConv& conv = PackedConv::get(PackedConv::Direction::forward, unit);
    float* packed = slices.slice(slice, attention.kernels);
    std::vector<float> shares;
    OutputSlice out(shape, slice * slices.width, slices.width, epilogue);
    for (std::int64_t n = first; n < std::min(first + samples_per_unit, shape.samples); ++n) {
      const float* source =
          scaled_sample(input, attention.channel, n, shape.in_pixels(), shape.in_channels, ThreadScratch::source);
      float* target = output + n * out_pixels * shape.out_channels;
      float* result =
          slices.count == 1 ? target : ThreadScratch::get(ThreadScratch::destination, out_pixels * slices.width);
      conv.run(source, sample_weights(conv, shape, attention, n, packed, shares), result);
      out.write(n, result, attention.filter, output);
    }
  });
}

void blocked_forward(const ConvShape& shape, const Attention& attention, const float* input, const float* weight,
                     float* output) {
  blocked_forward(shape, attention, input, pack_forward(shape, attention.kernels, weight), {}, output);
}

void blocked_data_gradient(const ConvShape& shape, const Attention& attention, const float* input, const float* weight,
                           const float* d_output, float* d_input, bool accumulate, float* weighted_channel) {
  const ConvShape unit = unit_of(shape, 1, slice_of(shape, shape.in_channels), shape.out_channels);
  const PackedSlices slices =
      pack_slices(PackedConv::Direction::data_gradient, shape, unit, true, attention.kernels, weight);
  const std::int64_t groups = (shape.samples + samples_per_unit - 1) / samples_per_unit;
  const std::int64_t in_pixels = shape.in_pixels();
  parallel_units(slices.count * groups, [&](std::int64_t index) {
    const std::int64_t slice = index / groups;
    const std::int64_t first = index % groups * samples_per_unit;
    const PackedConv& conv = PackedConv::get(PackedConv::Direction::data_gradient, unit);
    float* packed = slices.slice(slice, attention.kernels);
    std::vector<float> shares;
    for (std::int64_t n = first; n < std::min(first + samples_per_unit, shape.samples); ++n) {
      const float* source =
          scaled_sample(d_output, attention.filter, n, shape.out_pixels(), shape.out_channels, ThreadScratch::source);
      float* target = d_input + n * in_pixels * shape.in_channels;
      const bool direct = slices.count == 1 && !accumulate;
      float* result = direct ? target : ThreadScratch::get(ThreadScratch::destination, in_pixels * slices.width);
      conv.run(source, sample_weights(conv, shape, attention, n, packed, shares), result);
      const std::int64_t offset = slice * slices.width;
      const float* c = attention.channel ? attention.channel + n * shape.in_channels + offset : nullptr;
      if (direct && !c && !weighted_channel) continue;
      float* weighted = weighted_channel ? weighted_channel + n * shape.in_channels + offset : nullptr;
      if (weighted) std::fill(weighted, weighted + slices.width, 0.0f);
      for (std::int64_t p = 0; p < in_pixels; ++p) {
        float* from = result + p * slices.width;
        float* to = target + p * shape.in_channels + offset;
        if (c) {
          for (std::int64_t j = 0; j < slices.width; ++j) from[j] *= c[j];
        }
        if (weighted) {
          const float* x = input + (n * in_pixels + p) * shape.in_channels + offset;
          for (std::int64_t j = 0; j < slices.width; ++j) weighted[j] += x[j] * from[j];
        }
        if (accumulate) {
          for (std::int64_t j = 0; j < slices.width; ++j) to[j] += from[j];
        } else if (!direct) {
          std::copy(from, from + slices.width, to);
        }
      }
    }
  });
}

void blocked_weight_gradient(const ConvShape& shape, const Attention& attention, const float* input,
                             const float* weight, const float* d_output, float* d_weight, bool accumulate,
                             float* weighted_kst) {
  if (shape.params.groups == 1)
    return folded_weight_gradient(shape, attention, input, weight, d_output, d_weight, accumulate, weighted_kst);
  const bool dynamic = has_attention(attention);
  const std::int64_t kernels = attention.kernels;
  const std::int64_t chunk = (shape.samples + gradient_units - 1) / gradient_units;
  const std::int64_t chunks = (shape.samples + chunk - 1) / chunk;
  const std::int64_t last_chunk = shape.samples - (chunks - 1) * chunk;
  const std::int64_t minibatch = dynamic ? 1 : common_minibatch(chunk, last_chunk);
  const ConvShape unit = unit_of(shape, minibatch, shape.in_channels, shape.out_channels);
  const auto direction = PackedConv::Direction::weight_gradient;
  PackedSlices whole;
  if (weighted_kst) whole = pack_slices(direction, shape, unit, false, kernels, weight);
  std::int64_t packed_count = 0;
  parallel_units(1, [&](std::int64_t) { packed_count = PackedConv::get(direction, unit).packed_count(); });
  const Tensor partials = Tensor::zeros({chunks, kernels, packed_count}, DType::f32);
  const std::int64_t share_count = kernels * shape.taps();
  if (weighted_kst) std::fill(weighted_kst, weighted_kst + shape.samples * share_count, 0.0f);

  parallel_units(chunks, [&](std::int64_t index) {
    const PackedConv& conv = PackedConv::get(direction, unit);
    const std::int64_t first = index * chunk, last = std::min(first + chunk, shape.samples);
    float* gradient = partials.data<float>() + index * kernels * packed_count;
    std::vector<float> shares;
    for (std::int64_t n = first; n < last; n += minibatch) {
      const float* source =
          scaled_sample(input, attention.channel, n, shape.in_pixels(), shape.in_channels, ThreadScratch::source);
      const float* upstream = scaled_sample(d_output, attention.filter, n, shape.out_pixels(), shape.out_channels,
                                            ThreadScratch::destination);
      float* d = ThreadScratch::get(ThreadScratch::gradient, packed_count);
      conv.run(source, d, const_cast<float*>(upstream));
      sample_shares(shape, attention, n, shares);
      fold_all(conv.runs(), d, whole.packed.data_or_null<float>(), gradient, packed_count, kernels, shape.taps(),
               shares.data(), weighted_kst ? weighted_kst + n * share_count : nullptr);
      if (!weighted_kst) continue;
      for (std::int64_t e = 0; e < share_count; ++e)
        weighted_kst[n * share_count + e] *= shares[static_cast<std::size_t>(e)];
    }
  });

  if (!d_weight) return;
  parallel_units(kernels, [&](std::int64_t k) {
    const PackedConv& conv = PackedConv::get(direction, unit);
    float* sum = partials.data<float>() + k * packed_count;
    for (std::int64_t c = 1; c < chunks; ++c) {
      const float* part = sum + c * kernels * packed_count;
      for (std::int64_t e = 0; e < packed_count; ++e) sum[e] += part[e];
    }
    float* target = d_weight + k * shape.weight_count();
    if (!accumulate) {
      conv.unpack(sum, target, shape.group_in());
      return;
    }
    float* plain = ThreadScratch::get(ThreadScratch::gradient, shape.weight_count());
    conv.unpack(sum, plain, shape.group_in());
    for (std::int64_t e = 0; e < shape.weight_count(); ++e) target[e] += plain[e];
  });
}

}  // namespace omniconv::conv
