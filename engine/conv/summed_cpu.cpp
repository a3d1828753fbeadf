#include "engine/conv/summed_cpu.h"

#include <algorithm>
#include <vector>

#include "engine/conv/attention_parts_cpu.h"
#include "engine/library/parallel_cpu.h"
#include "engine/library/sgemm_cpu.h"
#include "engine/tensor.h"

namespace omniconv::conv {

namespace {

using library::parallel_units;
using library::sgemm;
using library::ThreadScratch;
using Attention = AttentionValues<float>;

constexpr std::int64_t panel_rows = 512;     // about; whole samples
constexpr std::int64_t panel_columns = 128;  // of a group's channels

/// What the three functions share: the cut into blocks of samples and panels of channels, and the scales.
struct Panels {
  const ConvShape& shape;
  const Attention& attention;
  std::int64_t taps, kernels, groups, group_in, group_out;
  std::int64_t block, blocks;  // samples in a block; blocks
  std::vector<std::vector<PixelRun>> runs;
  std::vector<float> shares;  // q [N, K, taps]

  Panels(const ConvShape& s, const Attention& a)
      : shape(s),
        attention(a),
        taps(s.taps()),
        kernels(a.kernels),
        groups(s.params.groups),
        group_in(s.group_in()),
        group_out(s.group_out()),
        block(std::clamp<std::int64_t>(panel_rows / s.out_pixels(), 1, s.samples)),
        blocks((s.samples + block - 1) / block),
        runs(pixel_runs(s)) {
    std::vector<float> of_sample;
    for (std::int64_t n = 0; n < s.samples; ++n) {
      sample_shares(s, a, n, of_sample);
      shares.insert(shares.end(), of_sample.begin(), of_sample.end());
    }
  }

  float share(std::int64_t n, std::int64_t k, std::int64_t t) const {
    return shares[static_cast<std::size_t>((n * kernels + k) * taps + t)];
  }
  const float* weight_at(const float* weight, std::int64_t k, std::int64_t o, std::int64_t t, std::int64_t i) const {
    return weight + ((k * shape.out_channels + o) * taps + t) * group_in + i;
  }
  std::int64_t weight_step() const { return taps * group_in; }  // from one output channel to the next

  /// Calls visit(row, sample, output pixel, input pixel) for all that meet at tap t in samples [first, last).
  /// Returns how many there are.
  template <class Visit>
  std::int64_t for_each_row(std::int64_t t, std::int64_t first, std::int64_t last, const Visit& visit) const {
    std::int64_t row = 0;
    for (std::int64_t n = first; n < last; ++n)
      for (const PixelRun& run : runs[static_cast<std::size_t>(t)])
        for (std::int64_t j = 0; j < run.count; ++j, ++row)
          visit(row, n, run.out + j, run.in + j * shape.params.stride);
    return row;
  }

  /// panel [rows, count] = c x of the input channels from `channel` on, at tap t.
  std::int64_t gather_input(std::int64_t t, std::int64_t first, std::int64_t last, const float* input,
                            std::int64_t channel, std::int64_t count, float* panel) const {
    return for_each_row(t, first, last, [&](std::int64_t row, std::int64_t n, std::int64_t, std::int64_t pixel) {
      scale_row(input + (n * shape.in_pixels() + pixel) * shape.in_channels + channel,
                attention.channel ? attention.channel + n * shape.in_channels + channel : nullptr, 1.0f, count,
                panel + row * count);
    });
  }

  /// panel [rows, count] = (q_nkt) f d_output of the output channels from `channel` on, at tap t; q only for k >= 0.
  std::int64_t gather_output(std::int64_t t, std::int64_t first, std::int64_t last, const float* d_output,
                             std::int64_t channel, std::int64_t count, std::int64_t k, float* panel) const {
    return for_each_row(t, first, last, [&](std::int64_t row, std::int64_t n, std::int64_t pixel, std::int64_t) {
      scale_row(d_output + (n * shape.out_pixels() + pixel) * shape.out_channels + channel,
                attention.filter ? attention.filter + n * shape.out_channels + channel : nullptr,
                k < 0 ? 1.0f : share(n, k, t), count, panel + row * count);
    });
  }

  static void scale_row(const float* from, const float* scale, float factor, std::int64_t count, float* to) {
    if (scale) {
      for (std::int64_t j = 0; j < count; ++j) to[j] = factor * scale[j] * from[j];
    } else {
      for (std::int64_t j = 0; j < count; ++j) to[j] = factor * from[j];
    }
  }
};

/// A unit of work: a block of samples and a panel of the channels of one group.
struct PanelUnit {
  std::int64_t first, last;            // samples
  std::int64_t group, channel, count;  // channels, counted within the group

  PanelUnit(const Panels& panels, std::int64_t index, std::int64_t group_channels) {
    const std::int64_t columns = (group_channels + panel_columns - 1) / panel_columns;
    first = index / (columns * panels.groups) * panels.block;
    last = std::min(first + panels.block, panels.shape.samples);
    group = index / columns % panels.groups;
    channel = index % columns * panel_columns;
    count = std::min(panel_columns, group_channels - channel);
  }
  static std::int64_t number(const Panels& panels, std::int64_t group_channels) {
    return panels.blocks * panels.groups * ((group_channels + panel_columns - 1) / panel_columns);
  }
};

}  // namespace

void panel_forward(const ConvShape& shape, const Attention& attention, const float* input, const float* weight,
                   float* output) {
  const Panels panels(shape, attention);
  const std::int64_t in = panels.group_in, pixels = shape.out_pixels(), rows = panels.block * pixels;
  parallel_units(PanelUnit::number(panels, panels.group_out), [&](std::int64_t index) {
    const PanelUnit unit(panels, index, panels.group_out);
    const std::int64_t first_out = unit.group * panels.group_out + unit.channel;
    float* source = ThreadScratch::get(ThreadScratch::source, rows * in);
    float* scaled = ThreadScratch::get(ThreadScratch::panel, rows * in);
    float* product = ThreadScratch::get(ThreadScratch::destination, rows * unit.count);
    float* sums = ThreadScratch::get(ThreadScratch::gradient, rows * unit.count);
    std::fill(sums, sums + rows * unit.count, 0.0f);
    for (std::int64_t t = 0; t < panels.taps; ++t) {
      const std::int64_t count = panels.gather_input(t, unit.first, unit.last, input, unit.group * in, in, source);
      if (count == 0) continue;
      for (std::int64_t k = 0; k < panels.kernels; ++k) {
        panels.for_each_row(
            t, unit.first, unit.last, [&](std::int64_t row, std::int64_t n, std::int64_t, std::int64_t) {
              Panels::scale_row(source + row * in, nullptr, panels.share(n, k, t), in, scaled + row * in);
            });
        sgemm(count, unit.count, in, {scaled, in},
              {panels.weight_at(weight, k, first_out, t, 0), panels.weight_step(), true}, product, unit.count, k > 0);
      }
      panels.for_each_row(t, unit.first, unit.last,
                          [&](std::int64_t row, std::int64_t n, std::int64_t pixel, std::int64_t) {
                            const float* from = product + row * unit.count;
                            float* to = sums + ((n - unit.first) * pixels + pixel) * unit.count;
                            for (std::int64_t j = 0; j < unit.count; ++j) to[j] += from[j];
                          });
    }
    for (std::int64_t n = unit.first; n < unit.last; ++n)
      for (std::int64_t p = 0; p < pixels; ++p)
        Panels::scale_row(sums + ((n - unit.first) * pixels + p) * unit.count,
                          attention.filter ? attention.filter + n * shape.out_channels + first_out : nullptr, 1.0f,
                          unit.count, output + (n * pixels + p) * shape.out_channels + first_out);
  });
}

void panel_data_gradient(const ConvShape& shape, const Attention& attention, const float* input, const float* weight,
                         const float* d_output, float* d_input, bool accumulate, float* weighted_kst) {
  const Panels panels(shape, attention);
  const std::int64_t in = panels.group_in, out = panels.group_out;
  const std::int64_t pixels = shape.in_pixels(), rows = panels.block * shape.out_pixels();
  const std::int64_t units = PanelUnit::number(panels, in), units_of_block = units / panels.blocks;
  const std::int64_t share_count = panels.kernels * panels.taps;
  Tensor partials;  // [units of a block, N, K, taps]
  if (weighted_kst) partials = Tensor::zeros({units_of_block, shape.samples, share_count}, DType::f32);

  parallel_units(units, [&](std::int64_t index) {
    const PanelUnit unit(panels, index, in);
    const std::int64_t first_in = unit.group * in + unit.channel, first_out = unit.group * out;
    float* source = ThreadScratch::get(ThreadScratch::source, rows * out);
    float* product = ThreadScratch::get(ThreadScratch::destination, rows * unit.count);
    float* sums = ThreadScratch::get(ThreadScratch::gradient, panels.block * pixels * unit.count);
    std::fill(sums, sums + panels.block * pixels * unit.count, 0.0f);
    float* dots =
        weighted_kst ? partials.data<float>() + index % units_of_block * shape.samples * share_count : nullptr;
    for (std::int64_t t = 0; t < panels.taps; ++t) {
      const std::int64_t count = panels.gather_output(t, unit.first, unit.last, d_output, first_out, out, -1, source);
      if (count == 0) continue;
      for (std::int64_t k = 0; k < panels.kernels; ++k) {
        sgemm(count, unit.count, out, {source, out},
              {panels.weight_at(weight, k, first_out, t, unit.channel), panels.weight_step()}, product, unit.count,
              false);
        panels.for_each_row(
            t, unit.first, unit.last, [&](std::int64_t row, std::int64_t n, std::int64_t, std::int64_t pixel) {
              const float* from = product + row * unit.count;
              const float q = panels.share(n, k, t);
              float* to = sums + ((n - unit.first) * pixels + pixel) * unit.count;
              for (std::int64_t j = 0; j < unit.count; ++j) to[j] += q * from[j];
              if (!dots) return;
              const float* x = input + (n * pixels + pixel) * shape.in_channels + first_in;
              const float* c = attention.channel ? attention.channel + n * shape.in_channels + first_in : nullptr;
              float dot = 0;
#pragma omp simd reduction(+ : dot)
              for (std::int64_t j = 0; j < unit.count; ++j) dot += (c ? c[j] * x[j] : x[j]) * from[j];
              dots[n * share_count + k * panels.taps + t] += q * dot;
            });
      }
    }
    if (!d_input) return;
    for (std::int64_t n = unit.first; n < unit.last; ++n) {
      const float* c = attention.channel ? attention.channel + n * shape.in_channels + first_in : nullptr;
      for (std::int64_t p = 0; p < pixels; ++p) {
        const float* from = sums + ((n - unit.first) * pixels + p) * unit.count;
        float* to = d_input + (n * pixels + p) * shape.in_channels + first_in;
        for (std::int64_t j = 0; j < unit.count; ++j) {
          const float value = c ? c[j] * from[j] : from[j];
          to[j] = accumulate ? to[j] + value : value;
        }
      }
    }
  });
  if (!weighted_kst) return;
  for (std::int64_t e = 0; e < shape.samples * share_count; ++e) {
    float sum = 0;
    for (std::int64_t u = 0; u < units_of_block; ++u)
      sum += partials.data<float>()[u * shape.samples * share_count + e];
    weighted_kst[e] = sum;
  }
}

void panel_weight_gradient(const ConvShape& shape, const Attention& attention, const float* input,
                           const float* d_output, float* d_weight, bool accumulate) {
  const Panels panels(shape, attention);
  const std::int64_t in = panels.group_in, out = panels.group_out, rows = panels.block * shape.out_pixels();
  const std::int64_t columns = (out + panel_columns - 1) / panel_columns;
  parallel_units(panels.kernels * panels.taps * panels.groups * columns, [&](std::int64_t index) {
    const std::int64_t channel = index % columns * panel_columns, group = index / columns % panels.groups;
    const std::int64_t t = index / (columns * panels.groups) % panels.taps;
    const std::int64_t k = index / (columns * panels.groups * panels.taps);
    const std::int64_t width = std::min(panel_columns, out - channel), first_out = group * out + channel;
    float* target = d_weight + ((k * shape.out_channels + first_out) * panels.taps + t) * in;
    float* source = ThreadScratch::get(ThreadScratch::source, rows * in);
    float* upstream = ThreadScratch::get(ThreadScratch::panel, rows * width);
    bool add = accumulate;
    for (std::int64_t first = 0; first < shape.samples; first += panels.block) {
      const std::int64_t last = std::min(first + panels.block, shape.samples);
      const std::int64_t count = panels.gather_input(t, first, last, input, group * in, in, source);
      if (count == 0) break;
      panels.gather_output(t, first, last, d_output, first_out, width, k, upstream);
      sgemm(width, in, count, {upstream, width, true}, {source, in}, target, panels.weight_step(), add);
      add = true;
    }
    if (add) return;
    for (std::int64_t o = 0; o < width; ++o)
      std::fill(target + o * panels.weight_step(), target + o * panels.weight_step() + in, 0.0f);
  });
}

}  // namespace omniconv::conv
