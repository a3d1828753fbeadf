#include "engine/conv/streamed_weight_cpu.h"

#include <algorithm>
#include <array>
#include <vector>

#include "engine/conv/attention_parts_cpu.h"
#include "engine/conv/panels_cpu.h"
#include "engine/conv/streamed_window_cpu.h"
#include "engine/conv/vector_cpu.h"
#include "engine/library/parallel_cpu.h"

namespace omniconv::conv {

namespace {

using library::parallel_units;
using library::ThreadScratch;

constexpr int taps = 9;
// Output channels whose kernels and gradients stay in the first-level cache while the samples pass.
constexpr int block_rows = 8;
// Samples whose gradients are folded at once, so that they share what is read and written.
constexpr int most_together = 2;

constexpr std::int64_t block_count = taps * block_rows * lanes;  // floats of a block of one kernel

/// gradients [9, block_rows, 16] of a sample. d_output [block_rows, 16 pixels], input [16 pixels, channels], scale [16]
/// or nullptr.
void sample_gradients(const float* d_output, const float* input, std::int64_t channels, const float* scale,
                      float* gradients) {
  Vector x[most_pixels];
#pragma GCC unroll 16
  for (int p = 0; p < most_pixels; ++p) {
    x[p] = vector_at(input + p * channels);
    if (scale) x[p] *= vector_at(scale);
  }
  for (int row = 0; row < block_rows; ++row, d_output += most_pixels) {
    Vector sums[taps] = {};
#pragma GCC unroll 16
    for (int p = 0; p < most_pixels; ++p) {
      const Vector g = d_output[p] - Vector{};
#pragma GCC unroll 9
      for (int t = 0; t < taps; ++t) {
        const Tap tap{t / 3 - 1, t % 3 - 1};
        if (tap.reaches(same_extent, p)) sums[t] += g * x[tap.source(same_extent, p)];
      }
    }
#pragma GCC unroll 9
    for (int t = 0; t < taps; ++t) vector_at(gradients + (t * block_rows + row) * lanes) = sums[t];
  }
}

/// d_weights [9, block_rows, K, 16] += Σ_n q_nkt D_n, and dots [n, K, 9, 16] += Σ_rows D_n W_k, lane by lane. D
/// [n, 9, block_rows, 16], shares q [n, K, 9], weights like d_weights.
template <int Kernels, int Samples>
void fold(const float* gradients, const float* shares, const float* weights, float* d_weights, float* dots) {
  for (int t = 0; t < taps; ++t) {
    Vector q[Samples][Kernels], sums[Samples][Kernels] = {};
    for (int n = 0; n < Samples; ++n)
      for (int k = 0; k < Kernels; ++k) q[n][k] = shares[(n * Kernels + k) * taps + t] - Vector{};
    for (int row = 0; row < block_rows; ++row) {
      Vector d[Samples];
#pragma GCC unroll 2
      for (int n = 0; n < Samples; ++n) d[n] = vector_at(gradients + n * block_count + (t * block_rows + row) * lanes);
#pragma GCC unroll 4
      for (int k = 0; k < Kernels; ++k, weights += lanes, d_weights += lanes) {
        Vector w = vector_at(weights), sum = vector_at(d_weights);
        pin(w);
#pragma GCC unroll 2
        for (int n = 0; n < Samples; ++n) {
          sum += q[n][k] * d[n];
          sums[n][k] += d[n] * w;
        }
        vector_at(d_weights) = sum;
      }
    }
    for (int n = 0; n < Samples; ++n)
      for (int k = 0; k < Kernels; ++k) vector_at(dots + ((n * Kernels + k) * taps + t) * lanes) += sums[n][k];
  }
}

using Fold = void (*)(const float*, const float*, const float*, float*, float*);
constexpr std::array<std::array<Fold, most_together>, most_kernels> folds = {{
    {fold<1, 1>, fold<1, 2>},
    {fold<2, 1>, fold<2, 2>},
    {fold<3, 1>, fold<3, 2>},
    {fold<4, 1>, fold<4, 2>},
}};

/// Where in the kernels [K, O, 9, I] the vectors of a block [9, block_rows, K, 16] lie, from its first one on.
std::vector<std::int64_t> places_of(const ConvShape& shape, std::int64_t kernels) {
  std::vector<std::int64_t> places;
  for (std::int64_t t = 0; t < taps; ++t)
    for (std::int64_t row = 0; row < block_rows; ++row)
      for (std::int64_t k = 0; k < kernels; ++k)
        places.push_back(((k * shape.out_channels + row) * taps + t) * shape.in_channels);
  return places;
}

/// Asks for kernels and gradients well before their turn: a stretch of neighbours at a time, since memory does single
/// lines far apart worst, and a few with each step of the work, since a core remembers no more.
class Prefetch {
 public:
  static constexpr std::int64_t stretch = 4 * lanes;

  /// The arrays [K, O, 9, I], or nullptr, and the steps that a stretch takes.
  Prefetch(const std::vector<std::int64_t>& places, const float* weight, const float* d_weight, std::int64_t steps)
      : places_(places), weight_(weight), d_weight_(d_weight), steps_(steps) {}

  /// From now on asks for the `count` channels of each place from `first` on.
  void begin(std::int64_t first, std::int64_t count) {
    first_ = first;
    count_ = count;
    step_ = 0;
    asked_ = 0;
  }
  void step() {
    const std::size_t due = places_.size() * static_cast<std::size_t>(++step_) / static_cast<std::size_t>(steps_);
    for (; asked_ < std::min(due, places_.size()); ++asked_)
      for (std::int64_t at = first_ + places_[asked_], last = at + count_; at < last; at += lanes) {
        if (weight_) __builtin_prefetch(weight_ + at, 0, 2);
        if (d_weight_) __builtin_prefetch(d_weight_ + at, 0, 2);
      }
  }

 private:
  const std::vector<std::int64_t>& places_;
  const float* weight_;
  const float* d_weight_;
  std::int64_t steps_, step_ = 0, first_ = 0, count_ = 0;
  std::size_t asked_ = 0;
};

}  // namespace

bool streams_weight_gradient(const ConvShape& shape, std::int64_t kernels) {
  return window_of(shape, Direction::forward) == same_extent && shape.params.groups == 1 &&
         shape.in_channels % lanes == 0 && shape.out_channels % lanes == 0 && kernels >= 1 && kernels <= most_kernels;
}

void streamed_weight_gradient(const ConvShape& shape, const AttentionValues<float>& attention, const float* input,
                              const float* weight, const float* d_output, float* d_weight, bool accumulate,
                              float* weighted_kst) {
  const std::int64_t samples = shape.samples, kernels = attention.kernels, channels = shape.in_channels;
  const std::int64_t units = shape.out_channels / block_rows, shares_count = samples * kernels * taps;
  const Tensor rows = channel_major(samples, most_pixels, shape.out_channels, d_output, attention.filter);
  const std::vector<float> shares = all_shares(shape, attention);
  const std::vector<std::int64_t> places = places_of(shape, kernels);
  Tensor unit_dots;  // [units, N, K, 9]
  if (weighted_kst) unit_dots = Tensor::empty({units, shares_count}, DType::f32);

  parallel_units(units, [&](std::int64_t unit) {
    const std::int64_t first_out = unit * block_rows;
    float* weights = ThreadScratch::get(ThreadScratch::source, kernels * block_count);
    float* d_weights = ThreadScratch::get(ThreadScratch::gradient, kernels * block_count);
    float* gradients = ThreadScratch::get(ThreadScratch::aggregated, most_together * block_count);
    float* dots = ThreadScratch::get(ThreadScratch::destination, shares_count * lanes);
    std::fill_n(dots, shares_count * lanes, 0.0f);
    std::fill_n(weights, kernels * block_count, 0.0f);

    const std::int64_t groups = (samples + most_together - 1) / most_together;
    Prefetch prefetch(places, weighted_kst ? weight : nullptr, d_weight,
                      (samples + groups) * Prefetch::stretch / lanes);
    for (std::int64_t first_in = 0; first_in < channels; first_in += lanes) {
      const std::int64_t block = first_out * taps * channels + first_in;
      if (first_in % Prefetch::stretch == 0) {
        const std::int64_t next = first_in + Prefetch::stretch;
        prefetch.begin(block + Prefetch::stretch, std::clamp<std::int64_t>(channels - next, 0, Prefetch::stretch));
      }
      std::fill_n(d_weights, kernels * block_count, 0.0f);
      if (weighted_kst)
        for (float* to = weights; const std::int64_t place : places) {
          vector_at(to) = vector_at(weight + block + place);
          to += lanes;
        }
      for (std::int64_t n = 0; n < samples;) {
        const std::int64_t together = std::min<std::int64_t>(most_together, samples - n);
        for (std::int64_t s = 0; s < together; ++s) {
          prefetch.step();
          sample_gradients(rows.data<float>() + ((n + s) * shape.out_channels + first_out) * most_pixels,
                           input + (n + s) * most_pixels * channels + first_in, channels,
                           attention.channel ? attention.channel + (n + s) * channels + first_in : nullptr,
                           gradients + s * block_count);
        }
        prefetch.step();
        folds[static_cast<std::size_t>(kernels - 1)][static_cast<std::size_t>(together - 1)](
            gradients, shares.data() + n * kernels * taps, weights, d_weights, dots + n * kernels * taps * lanes);
        n += together;
      }
      if (!d_weight) continue;
      for (const float* from = d_weights; const std::int64_t place : places) {
        Vector& to = vector_at(d_weight + block + place);
        if (accumulate)
          to += vector_at(from);
        else
          to = vector_at(from);
        from += lanes;
      }
    }
    if (weighted_kst) sum_lanes(dots, shares_count, unit_dots.data<float>() + unit * shares_count);
  });
  if (weighted_kst) weigh_dots(shares, unit_dots.data<float>(), units, weighted_kst);
}

}  // namespace omniconv::conv
