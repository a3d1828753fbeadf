#include "kernels/od_attention.h"

#include <cmath>

#include "kernels/attention_math.h"
#include "kernels/error.h"
#include "kernels/half.h"
#include "kernels/lanes.h"
#include "kernels/simt/phases.h"

namespace omniconv::kernels {
namespace {

constexpr int threads = 256;
constexpr int warps = threads / simt::warp_size;

OMNI_HOST_DEVICE constexpr std::int64_t parts(std::int64_t count, std::int64_t part) {
  return (count + part - 1) / part;
}

/// Work on `gradients` columns of a gradient against 32 columns of a value; see outer_sums.
constexpr int gradients = 8;
/// Rows of gradients that lie in shared memory at a time.
constexpr int gradient_rows = 256;

/// Gives the blocks items of work by turns, those of one kind after those of another.
class Turns {
 public:
  /// Calls `work(item)` for those of the items 0 .. count - 1 that are this block's.
  template <class Work>
  OMNI_DEVICE void take(std::int64_t count, Work work) {
    const std::int64_t blocks = simt::grid_extent().x, block = simt::block_index().x;
    for (std::int64_t item = (block + blocks - given_) % blocks; item < count; item += blocks) work(item);
    given_ = (given_ + count) % blocks;
  }

 private:
  std::int64_t given_ = 0;  // modulo the number of blocks
};

/// Two sums over the rows of each of `columns` columns, in double, by every block for itself: the sums are short, and a
/// launch to share them would take longer. `add(row, column, sum)` adds to both; `take(column, sum)` is called by one
/// thread. All threads meet at the end.
template <class Add, class Take>
OMNI_DEVICE void sum_columns(std::int64_t rows, std::int64_t columns, double* shared, Add add, Take take) {
  const int lane = simt::lane_index(), warp = simt::warp_index();
  for (std::int64_t first = 0; first < columns; first += simt::warp_size) {
    const std::int64_t column = first + lane;
    double sum[2] = {0, 0};
    if (column < columns)
      for (std::int64_t row = warp; row < rows; row += warps) add(row, column, sum);
    double* const mine = shared + (warp * simt::warp_size + lane) * 2;
    mine[0] = sum[0];
    mine[1] = sum[1];
    simt::barrier();
    if (warp == 0 && column < columns) {
      for (int w = 1; w < warps; ++w)
        for (int s = 0; s < 2; ++s) sum[s] += shared[(w * simt::warp_size + lane) * 2 + s];
      take(column, sum);
    }
    simt::barrier();
  }
}
constexpr int column_sums_shared = threads * 2;

// Forward -------------------------------------------------------------------------------------------------------------

// A warp computes so many samples of so many features of the trunk, its lanes side by side along the channels.
constexpr int trunk_samples = 2, trunk_features = 8;
// A block computes so many outputs of a head for so many samples; a thread has one output of half of the samples.
constexpr int head_outputs = 128, head_samples = 8, samples_of_thread = head_samples * head_outputs / threads;
// So many features of the heads' weights lie in shared memory at a time, with one element between the rows: threads of
// a warp, which read a column, hit different banks.
constexpr int weight_features = 32, weight_pitch = weight_features + 1;

/// Tiles of a sample's outputs, none of which has outputs of two heads.
OMNI_HOST_DEVICE inline std::int64_t head_tiles(const OdAttentionShape& shape) {
  std::int64_t tiles = 0;
  for (const std::int64_t width : shape.widths) tiles += parts(width, head_outputs);
  return tiles;
}

template <class T>
OMNI_DEVICE void compute_trunk(const OdAttentionShape& shape, const OdAttentionForward<T>& a) {
  const int lane = simt::lane_index();
  const std::int64_t channels = shape.channels, feature_parts = parts(shape.features, trunk_features);
  const std::int64_t items = parts(shape.samples, trunk_samples) * feature_parts;
  // Neighbouring items go to different blocks, so that few items keep as many processors busy.
  const std::int64_t blocks = simt::grid_extent().x;
  for (std::int64_t item = simt::warp_index() * blocks + simt::block_index().x; item < items; item += blocks * warps) {
    const std::int64_t sample = item / feature_parts * trunk_samples, feature = item % feature_parts * trunk_features;
    // Rows behind the last are computed like the last, and not written.
    const T *pool[trunk_samples], *weight[trunk_features];
    for (int s = 0; s < trunk_samples; ++s)
      pool[s] = a.pool + (sample + s < shape.samples ? sample + s : shape.samples - 1) * channels;
    for (int f = 0; f < trunk_features; ++f)
      weight[f] = a.trunk_weight + (feature + f < shape.features ? feature + f : shape.features - 1) * channels;
    T sums[trunk_samples][trunk_features] = {};
    for (std::int64_t i = lane; i < channels; i += simt::warp_size) {
      OMNI_UNROLL
      for (int f = 0; f < trunk_features; ++f) {
        const T w = weight[f][i];
        OMNI_UNROLL
        for (int s = 0; s < trunk_samples; ++s) sums[s][f] += pool[s][i] * w;
      }
    }
    OMNI_UNROLL
    for (int s = 0; s < trunk_samples; ++s) {
      OMNI_UNROLL
      for (int f = 0; f < trunk_features; ++f) {
        const T sum = simt::warp_sum(sums[s][f]);
        if (lane == 0 && sample + s < shape.samples && feature + f < shape.features)
          a.trunk[(sample + s) * shape.features + feature + f] = sum;
      }
    }
  }
}

/// mean and rstd of each feature, of which the first block leaves a copy for backward.
template <class T>
OMNI_DEVICE void find_statistics(const OdAttentionShape& shape, const OdAttentionForward<T>& a, T* mean, T* rstd,
                                 double* shared) {
  const bool is_first = simt::block_index().x == 0;
  const auto take = [&](std::int64_t f, double average, double variance) {
    mean[f] = static_cast<T>(average);
    rstd[f] = static_cast<T>(1 / std::sqrt(variance + shape.epsilon));
    if (is_first) {
      a.mean[f] = mean[f];
      a.rstd[f] = rstd[f];
    }
  };
  if (!shape.batch_statistics) {
    for (std::int64_t f = simt::thread_rank(); f < shape.features; f += threads)
      take(f, a.running_mean[f], a.running_var[f]);
    simt::barrier();
    return;
  }
  // Deviations from the first sample, so that nothing cancels where the mean is large.
  sum_columns(
      shape.samples, shape.features, shared,
      [&](std::int64_t n, std::int64_t f, double* sum) {
        const double deviation = static_cast<double>(a.trunk[n * shape.features + f]) - a.trunk[f];
        sum[0] += deviation;
        sum[1] += deviation * deviation;
      },
      [&](std::int64_t f, const double* sum) {
        const auto count = static_cast<double>(shape.samples);
        const double shift = sum[0] / count, squares = sum[1] - shift * sum[0], average = a.trunk[f] + shift;
        take(f, average, squares / count);
        if (!is_first) return;
        a.running_mean[f] += static_cast<T>(a.momentum * (average - a.running_mean[f]));
        a.running_var[f] += static_cast<T>(a.momentum * (squares / (count - 1) - a.running_var[f]));
      });
  if (is_first && simt::thread_rank() == 0 && a.batches != nullptr) ++*a.batches;
}

/// hidden[f, s] = relu(norm of u) of the samples from `sample` on.
template <class T>
OMNI_DEVICE void normalise(const OdAttentionShape& shape, const OdAttentionForward<T>& a, std::int64_t sample,
                           const T* mean, const T* rstd, bool keep, T* hidden) {
  const std::int64_t features = shape.features;
  for (std::int64_t i = simt::thread_rank(); i < head_samples * features; i += threads) {
    const std::int64_t s = i / features, f = i % features, at = (sample + s) * features + f;
    T value = 0;
    if (sample + s < shape.samples) {
      value = (a.trunk[at] - mean[f]) * (a.gamma[f] * rstd[f]) + a.beta[f];
      value = value < T(0) ? T(0) : value;  // a NaN stays
      if (keep) a.hidden[at] = value;
    }
    hidden[f * head_samples + s] = value;
  }
}

/// Logits and attentions of a head, of its outputs from `first` on and the samples from `sample` on.
template <class T>
OMNI_DEVICE void compute_head(const OdAttentionShape& shape, const typename OdAttentionForward<T>::Head& head,
                              std::int64_t width, bool is_softmax, T temperature, std::int64_t first,
                              std::int64_t sample, const T* hidden, T* weights) {
  const std::int64_t features = shape.features;
  const int output = simt::thread_rank() % head_outputs;
  const int mine = simt::thread_rank() / head_outputs * samples_of_thread;
  const std::int64_t j = first + output;
  using Samples = Lanes<T, samples_of_thread>;
  Samples sums = Samples::all(j < width ? head.bias[j] : T(0));
  for (std::int64_t start = 0; start < features; start += weight_features) {
    const std::int64_t left = features - start, count = left < weight_features ? left : weight_features;
    for (int i = simt::thread_rank(); i < head_outputs * weight_features; i += threads) {
      const int row = i / weight_features, f = i % weight_features;
      if (first + row < width && f < count)
        weights[row * weight_pitch + f] = head.weight[(first + row) * features + start + f];
    }
    simt::barrier();
    if (j < width)
      for (std::int64_t f = 0; f < count; ++f)
        sums += Samples::load(hidden + (start + f) * head_samples + mine) *
                Samples::all(weights[output * weight_pitch + f]);
    simt::barrier();
  }
  if (j < width)
    for (int s = 0; s < samples_of_thread && sample + mine + s < shape.samples; ++s) {
      const std::int64_t at = (sample + mine + s) * width + j;
      head.logits[at] = sums[s];
      if (!is_softmax) head.attention[at] = sigmoid(sums[s] / temperature);
    }
  if (!is_softmax) return;
  simt::barrier();
  const int s = simt::thread_rank();
  if (s >= head_samples || sample + s >= shape.samples) return;
  const T* const z = head.logits + (sample + s) * width;
  softmax([z](std::int64_t k) { return z[k]; }, width, temperature, head.attention + (sample + s) * width);
}

template <class T>
OMNI_KERNEL void forward_kernel(simt::Phases phases, OMNI_CONSTANT OdAttentionShape shape,
                                OMNI_CONSTANT OdAttentionForward<T> a) {
  if (phases.has(0)) compute_trunk(shape, a);
  simt::next_phase(phases, 0);
  if (!phases.has(1)) return;
  simt::SharedMemory memory;
  T* const hidden = memory.array<T>(shape.features * head_samples);  // the first, as the one that vectors are read of
  T* const weights = memory.array<T>(head_outputs * weight_pitch);
  T* const mean = memory.array<T>(shape.features);
  T* const rstd = memory.array<T>(shape.features);
  find_statistics(shape, a, mean, rstd, memory.array<double>(column_sums_shared));
  const std::int64_t tiles = head_tiles(shape);
  Turns().take(parts(shape.samples, head_samples) * tiles, [&](std::int64_t item) {
    const std::int64_t sample = item / tiles * head_samples;
    std::int64_t tile = item % tiles;
    normalise(shape, a, sample, mean, rstd, tile == 0, hidden);
    int h = 0;
    for (; tile >= parts(shape.widths[h], head_outputs); ++h) tile -= parts(shape.widths[h], head_outputs);
    compute_head(shape, a.heads[h], shape.widths[h], h == kernel_head, static_cast<T>(*a.temperature),
                 tile * head_outputs, sample, hidden, weights);
  });
}

// Backward ------------------------------------------------------------------------------------------------------------

// A block computes so many samples of d_hidden and of d_pool.
constexpr int backward_samples = 4;

/// Shared memory of the backward.
template <class T>
struct BackwardMemory {
  T* gradients;  // [gradient_rows, gradients], or d_trunk [A, backward_samples]
  T* sums;       // [warps, gradients, 32]
  T* biases;     // [warps, gradients]
};
constexpr int sums_shared = warps * gradients * simt::warp_size;

static_assert(backward_samples * od_attention_features <= gradient_rows * gradients);

/// target = value, or += value.
template <class T>
OMNI_DEVICE void write_to(const GradientTarget<T>& target, std::int64_t at, T value) {
  if (target.data != nullptr) write(target.data[at], value, target.accumulate);
}

/// target[i, column] (+)= Σ_n gradient(n, i) value(n) for `gradients` rows i from `row` on, of `rows`, and the lane's
/// column, of `columns`; and bias[i] (+)= Σ_n gradient(n, i).
template <class T, class GradientAt, class ValueAt>
OMNI_DEVICE void outer_sums(std::int64_t samples, std::int64_t row, std::int64_t rows, std::int64_t column,
                            std::int64_t columns, GradientAt gradient, ValueAt value, const GradientTarget<T>& target,
                            const GradientTarget<T>& bias, const BackwardMemory<T>& memory) {
  const int lane = simt::lane_index(), warp = simt::warp_index();
  T sums[gradients] = {}, biases[gradients] = {};
  for (std::int64_t first = 0; first < samples; first += gradient_rows) {
    const int count = static_cast<int>(samples - first < gradient_rows ? samples - first : gradient_rows);
    for (int i = simt::thread_rank(); i < count * gradients; i += threads)
      memory.gradients[i] = row + i % gradients < rows ? gradient(first + i / gradients, row + i % gradients) : T(0);
    simt::barrier();
    for (int n = warp; n < count; n += warps) {
      const T v = column < columns ? value(first + n) : T(0);
      OMNI_UNROLL
      for (int i = 0; i < gradients; ++i) {
        const T g = memory.gradients[n * gradients + i];
        sums[i] += g * v;
        biases[i] += g;
      }
    }
    simt::barrier();
  }
  OMNI_UNROLL
  for (int i = 0; i < gradients; ++i) {
    memory.sums[(warp * gradients + i) * simt::warp_size + lane] = sums[i];
    if (lane == 0) memory.biases[warp * gradients + i] = biases[i];
  }
  simt::barrier();
  static_assert(gradients == warps, "each warp writes the sums of one row");
  if (row + warp < rows) {
    T sum = 0, of_bias = 0;
    for (int w = 0; w < warps; ++w) {
      sum += memory.sums[(w * gradients + warp) * simt::warp_size + lane];
      of_bias += memory.biases[w * gradients + warp];
    }
    if (column < columns) write_to(target, (row + warp) * columns + column, sum);
    if (column == 0) write_to(bias, row + warp, of_bias);
  }
  simt::barrier();
}

/// d_hidden = Σ_heads d_logits W where a > 0, of a tile of samples and 32 features.
template <class T>
OMNI_DEVICE void compute_d_hidden(const OdAttentionShape& shape, const OdAttentionBackward<T>& b, std::int64_t sample,
                                  std::int64_t feature, T* shared) {
  const int warp = simt::warp_index(), lane = simt::lane_index();
  T sums[backward_samples] = {};
  for (int h = 0; h < head_count; ++h) {
    const T* const d_logits = b.heads[h].d_logits;
    if (d_logits == nullptr) continue;
    const std::int64_t width = shape.widths[h];
    const T* rows[backward_samples];  // behind the last sample the last again
    for (int s = 0; s < backward_samples; ++s)
      rows[s] = d_logits + (sample + s < shape.samples ? sample + s : shape.samples - 1) * width;
    if (feature < shape.features)
      for (std::int64_t j = warp; j < width; j += warps) {
        const T weight = b.heads[h].weight[j * shape.features + feature];
        OMNI_UNROLL
        for (int s = 0; s < backward_samples; ++s) sums[s] += rows[s][j] * weight;
      }
  }
  OMNI_UNROLL
  for (int s = 0; s < backward_samples; ++s) shared[(warp * backward_samples + s) * simt::warp_size + lane] = sums[s];
  simt::barrier();
  if (warp < backward_samples && sample + warp < shape.samples && feature < shape.features) {
    T sum = 0;
    for (int w = 0; w < warps; ++w) sum += shared[(w * backward_samples + warp) * simt::warp_size + lane];
    const std::int64_t at = (sample + warp) * shape.features + feature;
    b.d_hidden[at] = b.hidden[at] > T(0) ? sum : T(0);
  }
  simt::barrier();
}

/// The gradient of u, from the norm's: gamma rstd (d_hidden - mean of d_hidden - ũ · mean of d_hidden ⊙ ũ), the means
/// over the batch only where its statistics were used.
template <class T>
struct TrunkGradient {
  const OdAttentionBackward<T>& b;
  std::int64_t features;
  const T *mean_gradient, *mean_product;  // [A]

  OMNI_DEVICE T normalised(std::int64_t n, std::int64_t f) const {
    return (b.trunk[n * features + f] - b.mean[f]) * b.rstd[f];
  }
  OMNI_DEVICE T operator()(std::int64_t n, std::int64_t f) const {
    return b.gamma[f] * b.rstd[f] *
           (b.d_hidden[n * features + f] - mean_gradient[f] - normalised(n, f) * mean_product[f]);
  }
};

/// d_pool = d_trunk W_fc of a tile of samples and a channel per thread.
template <class T>
OMNI_DEVICE void compute_d_pool(const OdAttentionShape& shape, const OdAttentionBackward<T>& b,
                                const TrunkGradient<T>& d_trunk, std::int64_t sample, std::int64_t channel, T* shared) {
  const std::int64_t features = shape.features;
  for (std::int64_t i = simt::thread_rank(); i < backward_samples * features; i += threads) {
    const std::int64_t n = sample + i % backward_samples;
    shared[i] = n < shape.samples ? d_trunk(n, i / backward_samples) : T(0);
  }
  simt::barrier();
  if (channel < shape.channels) {
    T sums[backward_samples] = {};
    for (std::int64_t f = 0; f < features; ++f) {
      const T weight = b.trunk_weight[f * shape.channels + channel];
      OMNI_UNROLL
      for (int s = 0; s < backward_samples; ++s) sums[s] += shared[f * backward_samples + s] * weight;
    }
    OMNI_UNROLL
    for (int s = 0; s < backward_samples; ++s)
      if (sample + s < shape.samples) write_to(b.d_pool, (sample + s) * shape.channels + channel, sums[s]);
  }
  simt::barrier();
}

template <class T>
OMNI_DEVICE void of_heads(const OdAttentionShape& shape, const OdAttentionBackward<T>& b,
                          const BackwardMemory<T>& memory) {
  const std::int64_t features = shape.features, feature_parts = parts(features, simt::warp_size);
  const int lane = simt::lane_index();
  Turns turns;
  turns.take(parts(shape.samples, backward_samples) * feature_parts, [&](std::int64_t item) {
    compute_d_hidden(shape, b, item / feature_parts * backward_samples, item % feature_parts * simt::warp_size + lane,
                     memory.sums);
  });
  for (int h = 0; h < head_count; ++h) {
    const auto& head = b.heads[h];
    if (head.d_logits == nullptr || (head.d_weight.data == nullptr && head.d_bias.data == nullptr)) continue;
    const std::int64_t width = shape.widths[h];
    turns.take(parts(width, gradients) * feature_parts, [&](std::int64_t item) {
      const std::int64_t column = item % feature_parts * simt::warp_size + lane;
      outer_sums<T>(
          shape.samples, item / feature_parts * gradients, width, column, features,
          [&](std::int64_t n, std::int64_t j) { return head.d_logits[n * width + j]; },
          [&](std::int64_t n) { return b.hidden[n * features + column]; }, head.d_weight, head.d_bias, memory);
    });
  }
}

template <class T>
OMNI_DEVICE void of_trunk(const OdAttentionShape& shape, const OdAttentionBackward<T>& b,
                          const BackwardMemory<T>& memory, T* mean_gradient, T* mean_product, double* shared) {
  const std::int64_t features = shape.features, channels = shape.channels;
  const TrunkGradient<T> d_trunk{b, features, mean_gradient, mean_product};
  sum_columns(
      shape.samples, features, shared,
      [&](std::int64_t n, std::int64_t f, double* sum) {
        const double gradient = b.d_hidden[n * features + f];
        sum[0] += gradient;
        sum[1] += gradient * d_trunk.normalised(n, f);
      },
      [&](std::int64_t f, const double* sum) {
        const double share = shape.batch_statistics ? 1 / static_cast<double>(shape.samples) : 0;
        mean_gradient[f] = static_cast<T>(share * sum[0]);
        mean_product[f] = static_cast<T>(share * sum[1]);
        if (simt::block_index().x != 0) return;
        write_to(b.d_beta, f, static_cast<T>(sum[0]));
        write_to(b.d_gamma, f, static_cast<T>(sum[1]));
      });
  Turns turns;
  const std::int64_t channel_parts = parts(channels, threads);
  if (b.d_pool.data != nullptr)
    turns.take(parts(shape.samples, backward_samples) * channel_parts, [&](std::int64_t item) {
      compute_d_pool(shape, b, d_trunk, item / channel_parts * backward_samples,
                     item % channel_parts * threads + simt::thread_rank(), memory.gradients);
    });
  const std::int64_t column_parts = parts(channels, simt::warp_size);
  if (b.d_trunk_weight.data != nullptr)
    turns.take(parts(features, gradients) * column_parts, [&](std::int64_t item) {
      const std::int64_t column = item % column_parts * simt::warp_size + simt::lane_index();
      outer_sums<T>(
          shape.samples, item / column_parts * gradients, features, column, channels, d_trunk,
          [&](std::int64_t n) { return b.pool[n * channels + column]; }, b.d_trunk_weight, {}, memory);
    });
}

template <class T>
OMNI_KERNEL void backward_kernel(simt::Phases phases, OMNI_CONSTANT OdAttentionShape shape,
                                 OMNI_CONSTANT OdAttentionBackward<T> b) {
  simt::SharedMemory shared;
  const BackwardMemory<T> memory{shared.array<T>(gradient_rows * gradients), shared.array<T>(sums_shared),
                                 shared.array<T>(warps * gradients)};
  if (phases.has(0)) of_heads(shape, b, memory);
  simt::next_phase(phases, 0);
  if (!phases.has(1)) return;
  T* const mean_gradient = shared.array<T>(shape.features);
  T* const mean_product = shared.array<T>(shape.features);
  of_trunk(shape, b, memory, mean_gradient, mean_product, shared.array<double>(column_sums_shared));
}

void check(const OdAttentionShape& shape) {
  expect(shape.samples >= (shape.batch_statistics ? 2 : 1), "od_attention", "expected at least ",
         shape.batch_statistics ? 2 : 1, " samples, got ", shape.samples);
  expect(shape.features >= 1 && shape.features <= od_attention_features, "od_attention", "expected 1 to ",
         od_attention_features, " features of the trunk, got ", shape.features);
  expect(shape.widths[kernel_head] <= head_outputs, "od_attention", "expected at most ", head_outputs, " kernels, got ",
         shape.widths[kernel_head]);
}

/// Blocks that can have work at once in either phase.
constexpr std::int64_t enough_blocks = 1024;

}  // namespace

template <class T>
void od_attention_forward(const OdAttentionShape& shape, const OdAttentionForward<T>& arguments, Stream stream) {
  check(shape);
  const auto features = static_cast<std::size_t>(shape.features);
  const std::size_t shared_bytes = simt::SharedSize{}
                                       .array<T>(features * head_samples)
                                       .template array<T>(head_outputs * weight_pitch)
                                       .template array<T>(features)
                                       .template array<T>(features)
                                       .template array<double>(column_sums_shared)
                                       .bytes();
  simt::launch_phases(forward_kernel<T>, 2, parts(shape.samples, head_samples) * head_tiles(shape), threads,
                      shared_bytes, stream, shape, arguments);
}

template <class T>
void od_attention_backward(const OdAttentionShape& shape, const OdAttentionBackward<T>& arguments, Stream stream) {
  check(shape);
  const auto features = static_cast<std::size_t>(shape.features);
  const std::size_t shared_bytes = simt::SharedSize{}
                                       .array<T>(gradient_rows * gradients)
                                       .template array<T>(sums_shared)
                                       .template array<T>(warps * gradients)
                                       .template array<T>(features)
                                       .template array<T>(features)
                                       .template array<double>(column_sums_shared)
                                       .bytes();
  simt::launch_phases(backward_kernel<T>, 2, enough_blocks, threads, shared_bytes, stream, shape, arguments);
}

#define OMNICONV_INSTANTIATE(T)                                                                      \
  template void od_attention_forward(const OdAttentionShape&, const OdAttentionForward<T>&, Stream); \
  template void od_attention_backward(const OdAttentionShape&, const OdAttentionBackward<T>&, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
