#include "kernels/od_conv.h"

#include <algorithm>
#include <climits>

#include "kernels/conv_tile.h"
#include "kernels/dynamic.h"
#include "kernels/error.h"
#include "kernels/sum_parts.h"

namespace omniconv::kernels {

namespace {

using namespace omniconv::simt;

/// Kernels whose gradients one block keeps in registers, and whose weights it keeps in shared memory. On a GPU these
/// have room for fewer f64.
template <class Value>
constexpr int flush_kernels = OMNICONV_CUDA && sizeof(Value) > sizeof(float) ? 2 : 4;

// What follows counts in int, which check_extents sees to, the pixels, taps and channels of a sample and the weights of
// a kernel.

/// Whether 0 <= index < extent.
OMNI_DEVICE bool is_inside(int index, int extent) {
  return static_cast<unsigned>(index) < static_cast<unsigned>(extent);
}

/// The rows of the forward product: x ⊙ c of a sample under tap and channel (t, i) of output pixels.
template <class T, class ThreadShare>
struct Windows {
  using Share = ThreadShare;
  using Value = compute_type_t<T>;

  const T* input;        // from the group's first channel on
  const Value* channel;  // likewise, or nullptr
  int height, width, in_channels, dilation, kernel_height;
  Walk at;
  int row[Share::count], column[Share::count];  // of the input, under the first tap

  OMNI_DEVICE Windows(const Geometry& geometry, const Dynamic<T>& dynamic, const T* x, std::int64_t n,
                      std::int64_t first_in, std::int64_t first_pixel)
      : input(x + dynamic.input_index(n, 0, first_in)),
        channel(dynamic.attention.channel ? dynamic.attention.channel + n * dynamic.in_channels + first_in : nullptr),
        height(narrow(geometry.height)),
        width(narrow(geometry.width)),
        in_channels(narrow(dynamic.in_channels)),
        dilation(narrow(geometry.dilation)),
        kernel_height(narrow(dynamic.taps / geometry.kernel_width)),
        at(Share::depth(0), tile_inner, narrow(geometry.kernel_width), narrow(dynamic.group_in)) {
    const int out_pixels = narrow(dynamic.out_pixels), out_width = narrow(geometry.out_width);
    const int stride = narrow(geometry.stride), padding = narrow(geometry.padding);
    OMNI_UNROLL for (int j = 0; j < Share::count; ++j) {
      const int p = narrow(first_pixel) + Share::line(j);
      row[j] = p < out_pixels ? p / out_width * stride - padding : INT_MIN;  // outside under every tap
      column[j] = p % out_width * stride - padding;
    }
  }

  OMNI_DEVICE void load(Value (&values)[Share::count]) {
    const bool is_tap = at.row < kernel_height;
    const Value scale = channel && is_tap ? channel[at.channel] : Value(1);
    OMNI_UNROLL for (int j = 0; j < Share::count; ++j) {
      const int h = row[j] + at.row * dilation, w = column[j] + at.column * dilation;
      const bool has_value = is_tap && is_inside(h, height) && is_inside(w, width);
      values[j] = has_value ? input[(h * width + w) * in_channels + at.channel] * scale : Value(0);
    }
    at.advance();
  }
};

/// The rows of the product that is the data gradient: f ⊙ d_output of a sample at tap and channel (t, o) of input
/// pixels.
template <class T, class ThreadShare>
struct Meetings {
  using Share = ThreadShare;
  using Value = compute_type_t<T>;

  const T* d_output;    // from the group's first channel on
  const Value* filter;  // likewise, or nullptr
  int out_height, out_width, out_channels, stride, dilation, kernel_height, padded_width;
  Walk at;
  // Where the first tap would lie on the pixel: whole strides and what remains of them. A tap lies on it if as much
  // remains of the tap's own distance.
  int row[Share::count], column[Share::count], rest[Share::count];

  OMNI_DEVICE Meetings(const Geometry& geometry, const Dynamic<T>& dynamic, const T* dy, std::int64_t n,
                       std::int64_t first_out, std::int64_t first_pixel)
      : d_output(dy + dynamic.output_index(n, 0, first_out)),
        filter(dynamic.attention.filter ? dynamic.attention.filter + n * dynamic.out_channels + first_out : nullptr),
        out_height(narrow(geometry.out_height)),
        out_width(narrow(geometry.out_width)),
        out_channels(narrow(dynamic.out_channels)),
        stride(narrow(geometry.stride)),
        dilation(narrow(geometry.dilation)),
        kernel_height(narrow(dynamic.taps / geometry.kernel_width)),
        padded_width(narrow(geometry.width + 2 * geometry.padding)),
        at(Share::depth(0), tile_inner, narrow(geometry.kernel_width), narrow(dynamic.group_out)) {
    const int in_pixels = narrow(dynamic.in_pixels), width = narrow(geometry.width);
    const int padding = narrow(geometry.padding);
    OMNI_UNROLL for (int j = 0; j < Share::count; ++j) {
      const int p = narrow(first_pixel) + Share::line(j);
      const int h = p / width + padding, w = p % width + padding;
      row[j] = h / stride;
      column[j] = w / stride;
      rest[j] = p < in_pixels ? rest_of(h, w) : -1;
    }
  }

  OMNI_DEVICE int rest_of(int h, int w) const { return h % stride * padded_width + w % stride; }

  OMNI_DEVICE void load(Value (&values)[Share::count]) {
    const bool is_tap = at.row < kernel_height;
    const Value scale = filter && is_tap ? filter[at.channel] : Value(1);
    int tap_row = at.row * dilation, tap_column = at.column * dilation, tap_rest = 0;
    if (stride > 1) {
      tap_rest = rest_of(tap_row, tap_column);
      tap_row /= stride;
      tap_column /= stride;
    }
    OMNI_UNROLL for (int j = 0; j < Share::count; ++j) {
      const int h = row[j] - tap_row, w = column[j] - tap_column;
      const bool has_value = is_tap && rest[j] == tap_rest && is_inside(h, out_height) && is_inside(w, out_width);
      values[j] = has_value ? d_output[(h * out_width + w) * out_channels + at.channel] * scale : Value(0);
    }
    at.advance();
  }
};

/// The aggregated weights Σ_k q_nkt W_k of a sample, as columns of either product: of (t, i) and output channels, whose
/// sum runs along memory, or of (t, o) and input channels, which lie along it.
template <class T, class ThreadShare>
struct Aggregate {
  using Share = ThreadShare;
  using Value = compute_type_t<T>;

  const T* weight;  // from the group's and the tile's first channels on
  const Value* kernel;
  const Value* spatial;  // both of the sample, or nullptr
  std::int64_t kernel_weights;
  int kernels, taps, group_in, kernel_width, columns;
  Walk at;

  OMNI_DEVICE Aggregate(const Geometry& geometry, const Dynamic<T>& dynamic, std::int64_t n, const GroupTile& tile)
      : weight(dynamic.weight + (Share::along_sum ? dynamic.weight_index(0, tile.first_out + tile.first, 0, 0)
                                                  : dynamic.weight_index(0, tile.first_out, 0, tile.first))),
        kernel(dynamic.attention.kernel ? dynamic.attention.kernel + n * dynamic.attention.kernels : nullptr),
        spatial(dynamic.attention.spatial ? dynamic.attention.spatial + n * dynamic.taps : nullptr),
        kernel_weights(dynamic.weight_index(1, 0, 0, 0)),
        kernels(narrow(dynamic.attention.kernels)),
        taps(narrow(dynamic.taps)),
        group_in(narrow(dynamic.group_in)),
        kernel_width(narrow(geometry.kernel_width)),
        columns(narrow(tile.columns)),
        at(Share::depth(0), Share::along_sum ? tile_inner : Share::step, kernel_width,
           narrow(Share::along_sum ? dynamic.group_in : dynamic.group_out)) {}

  OMNI_DEVICE void load(Value (&values)[Share::count]) {
    int index[Share::count];    // of the weight, or -1
    Value share[Share::count];  // s_nt
    OMNI_UNROLL for (int j = 0; j < Share::count; ++j) {
      const int t = at.row * kernel_width + at.column, line = Share::line(j);
      const bool has_value = t < taps && line < columns;
      const int out = Share::along_sum ? line : at.channel, in = Share::along_sum ? at.channel : line;
      index[j] = has_value ? (out * taps + t) * group_in + in : -1;
      share[j] = spatial && has_value ? spatial[t] : Value(1);
      values[j] = 0;
      if (!Share::along_sum) at.advance();
    }
    if (Share::along_sum) at.advance();
    const T* of_kernel = weight;
    for (int k = 0; k < kernels; ++k, of_kernel += kernel_weights) {
      const Value p = kernel ? kernel[k] : Value(1);
      OMNI_UNROLL for (int j = 0; j < Share::count; ++j) {
        if (index[j] >= 0) values[j] += p * of_kernel[index[j]];
      }
    }
    OMNI_UNROLL for (int j = 0; j < Share::count; ++j) values[j] *= share[j];
  }
};

template <class T, class Tiling>
OMNI_KERNEL void forward_kernel(Geometry geometry, Dynamic<T> dynamic, const T* input, T* output) {
  using Value = compute_type_t<T>;
  SharedMemory memory;
  const typename Tiling::template Operands<Value> shared(memory);
  const std::int64_t n = block_index().z;
  const std::int64_t first_pixel = std::int64_t{block_index().x} * Tiling::rows;
  const auto tile = GroupTile::of<Tiling>(block_index().y, dynamic, dynamic.group_out);

  Value sums[thread_tile][thread_tile] = {};
  Tiling::multiply(shared, dynamic.taps * dynamic.group_in,
                   Windows<T, typename Tiling::template RowShare<Along::sum>>(geometry, dynamic, input, n,
                                                                              tile.first_in, first_pixel),
                   Aggregate<T, typename Tiling::template ColumnShare<Along::sum>>(geometry, dynamic, n, tile), sums);
  Tiling::for_each_sum(sums, dynamic.out_pixels - first_pixel, tile.columns, [&](int row, int column, Value sum) {
    const std::int64_t o = tile.first_out + tile.first + column;
    output[dynamic.output_index(n, first_pixel + row, o)] = static_cast<T>(sum * dynamic.filter(n, o));
  });
}

template <class T, class Tiling>
OMNI_KERNEL void data_gradient_kernel(Geometry geometry, Dynamic<T> dynamic, const T* d_output, T* d_input,
                                      bool accumulate) {
  using Value = compute_type_t<T>;
  SharedMemory memory;
  const typename Tiling::template Operands<Value> shared(memory);
  const std::int64_t n = block_index().z;
  const std::int64_t first_pixel = std::int64_t{block_index().x} * Tiling::rows;
  const auto tile = GroupTile::of<Tiling>(block_index().y, dynamic, dynamic.group_in);

  Value sums[thread_tile][thread_tile] = {};
  Tiling::multiply(shared, dynamic.taps * dynamic.group_out,
                   Meetings<T, typename Tiling::template RowShare<Along::sum>>(geometry, dynamic, d_output, n,
                                                                               tile.first_out, first_pixel),
                   Aggregate<T, typename Tiling::template ColumnShare<Along::lines>>(geometry, dynamic, n, tile), sums);
  Tiling::for_each_sum(sums, dynamic.in_pixels - first_pixel, tile.columns, [&](int row, int column, Value sum) {
    const std::int64_t i = tile.first_in + tile.first + column;
    write(d_input[dynamic.input_index(n, first_pixel + row, i)], sum * dynamic.channel(n, i), accumulate);
  });
}

/// The rows of the product that is D: f ⊙ d_output of a sample at output pixels, of output channels.
template <class T, class ThreadShare>
struct OutputGradients {
  using Share = ThreadShare;
  using Value = compute_type_t<T>;

  const T* d_output;    // from the thread's channel on
  const Value* filter;  // likewise, or nullptr
  bool has_channel;
  Value scale = 1;
  int pixel, out_pixels, out_channels;

  OMNI_DEVICE OutputGradients(const Dynamic<T>& dynamic, const T* dy, std::int64_t first_channel, std::int64_t channels)
      : d_output(dy + first_channel + Share::line(0)),
        filter(dynamic.attention.filter ? dynamic.attention.filter + first_channel + Share::line(0) : nullptr),
        has_channel(Share::line(0) < channels),
        pixel(Share::depth(0)),
        out_pixels(narrow(dynamic.out_pixels)),
        out_channels(narrow(dynamic.out_channels)) {}

  OMNI_DEVICE OutputGradients of_sample(std::int64_t n) const {
    OutputGradients result = *this;
    result.d_output += n * out_pixels * out_channels;
    if (filter && has_channel) result.scale = filter[n * out_channels];
    return result;
  }

  OMNI_DEVICE void load(Value (&values)[Share::count]) {
    OMNI_UNROLL for (int j = 0; j < Share::count; ++j) {
      values[j] = has_channel && pixel < out_pixels ? d_output[pixel * out_channels] * scale : Value(0);
      pixel += Share::step;
    }
  }
};

/// The columns of the product that is D: x ⊙ c of a sample under a tap of output pixels, of input channels.
template <class T, class ThreadShare>
struct InputsUnderTap {
  using Share = ThreadShare;
  using Value = compute_type_t<T>;

  const T* input;        // from the thread's channel on
  const Value* channel;  // likewise, or nullptr
  bool has_channel;
  Value scale = 1;
  int height, width, in_channels, out_height, stride;
  int row, column;  // of the input, under the tap of the first output pixel
  Walk at;

  OMNI_DEVICE InputsUnderTap(const Geometry& geometry, const Dynamic<T>& dynamic, const T* x, std::int64_t tap,
                             std::int64_t first_channel, std::int64_t channels)
      : input(x + first_channel + Share::line(0)),
        channel(dynamic.attention.channel ? dynamic.attention.channel + first_channel + Share::line(0) : nullptr),
        has_channel(Share::line(0) < channels),
        height(narrow(geometry.height)),
        width(narrow(geometry.width)),
        in_channels(narrow(dynamic.in_channels)),
        out_height(narrow(geometry.out_height)),
        stride(narrow(geometry.stride)),
        row(narrow(tap / geometry.kernel_width * geometry.dilation - geometry.padding)),
        column(narrow(tap % geometry.kernel_width * geometry.dilation - geometry.padding)),
        at(Share::depth(0), Share::step, narrow(geometry.out_width), 1) {}

  OMNI_DEVICE InputsUnderTap of_sample(std::int64_t n) const {
    InputsUnderTap result = *this;
    result.input += n * height * width * in_channels;
    if (channel && has_channel) result.scale = channel[n * in_channels];
    return result;
  }

  OMNI_DEVICE void load(Value (&values)[Share::count]) {
    OMNI_UNROLL for (int j = 0; j < Share::count; ++j) {
      const int h = row + at.row * stride, w = column + at.column * stride;
      const bool has_value = has_channel && at.row < out_height && is_inside(h, height) && is_inside(w, width);
      values[j] = has_value ? input[(h * width + w) * in_channels] * scale : Value(0);
      at.advance();
    }
  }
};

/// Bytes of shared memory of a block of the weight gradient; with Q it holds a tile of weights, too.
template <class Tiling, class Value>
std::size_t weight_gradient_bytes(bool with_q) {
  const SharedSize operands = Tiling::template Operands<Value>::size();
  return with_q ? operands.array<Value>(flush_kernels<Value> * Tiling::rows * Tiling::columns).bytes()
                : operands.bytes();
}

// A block owns a tile of one tap of a few kernels' gradients and walks over a part of the samples: each sample's D
// stays in registers and is folded into the gradients and, with the weights, into the tile's share of Q.
template <class T, class Tiling>
OMNI_KERNEL void weight_gradient_kernel(Geometry geometry, Dynamic<T> dynamic, int parts, const T* input,
                                        const T* d_output, compute_type_t<T>* d_weight, bool accumulate,
                                        compute_type_t<T>* partials) {
  using Value = compute_type_t<T>;
  constexpr int most_kernels = flush_kernels<Value>;
  SharedMemory memory;
  const typename Tiling::template Operands<Value> shared(memory);
  const auto tile = WeightTile<Tiling>::of_this_block(dynamic);
  const int part = narrow(block_index().z) % parts;
  const PartOfSum samples = PartOfSum::of(part, parts, narrow(dynamic.samples));
  const std::int64_t first_k = std::int64_t{block_index().z} / parts * most_kernels;
  const std::int64_t kernels =
      dynamic.attention.kernels - first_k < most_kernels ? dynamic.attention.kernels - first_k : most_kernels;
  const OutputGradients<T, typename Tiling::template RowShare<Along::lines>> rows(dynamic, d_output,
                                                                                  tile.out_channel(0), tile.rows);
  const InputsUnderTap<T, typename Tiling::template ColumnShare<Along::lines>> columns(
      geometry, dynamic, input, tile.tap, tile.in_channel(0), tile.group.columns);

  // [most_kernels, thread_tile, threads, thread_tile]: the weights that a thread's sums meet, which it alone reads.
  constexpr int pitch = Tiling::threads * thread_tile;
  Value* weights = nullptr;
  const bool has_sums = Tiling::first_row() < tile.rows && Tiling::first_column() < tile.group.columns;
  if (partials) {
    weights = memory.array<Value>(most_kernels * thread_tile * pitch) + thread_rank() * thread_tile;
    for (int k = 0; k < kernels && has_sums; ++k) {
      for (int r = 0; r < thread_tile; ++r) {
        for (int c = 0; c < thread_tile; ++c) {
          const int row = Tiling::first_row() + r, column = Tiling::first_column() + c;
          const bool has_weight = row < tile.rows && column < tile.group.columns;
          weights[(k * thread_tile + r) * pitch + c] =
              has_weight ? Value(dynamic.weight[tile.weight_index(dynamic, first_k + k, row, column)]) : Value(0);
        }
      }
    }
  }

  Value gradients[most_kernels][thread_tile][thread_tile] = {};
  for (std::int64_t n = samples.first; n < samples.end; ++n) {
    Value sums[thread_tile][thread_tile] = {};
    Tiling::multiply(shared, dynamic.out_pixels, rows.of_sample(n), columns.of_sample(n), sums);
    OMNI_UNROLL for (int k = 0; k < most_kernels; ++k) {
      if (k >= kernels) continue;
      const Value share = dynamic.share(n, first_k + k, tile.tap);
      for (int r = 0; r < thread_tile; ++r)
        for (int c = 0; c < thread_tile; ++c) gradients[k][r][c] += share * sums[r][c];
      if (!partials) continue;
      Value dot = 0;
      for (int r = 0; r < thread_tile && has_sums; ++r)
        for (int c = 0; c < thread_tile; ++c) dot += sums[r][c] * weights[(k * thread_tile + r) * pitch + c];
      const Value total = block_sum(dot);
      if (thread_rank() == 0)
        partials[((n * dynamic.attention.kernels + first_k + k) * dynamic.taps + tile.tap) * tile.count + tile.number] =
            share * total;
    }
  }
  if (d_weight == nullptr) return;
  Value* const d_weight_of_part = d_weight + part * dynamic.weight_index(dynamic.attention.kernels, 0, 0, 0);
  OMNI_UNROLL for (int k = 0; k < most_kernels; ++k) {
    if (k < kernels) tile.store(dynamic, first_k + k, gradients[k], d_weight_of_part, accumulate);
  }
}

/// Throws unless the kernels can count the elements of a sample and of a kernel, and the padded pixels, in int.
void check_extents(const ConvShape& shape) {
  const std::int64_t padding = 2 * shape.params.padding;
  const std::int64_t most = std::max({shape.in_pixels() * shape.in_channels, shape.out_pixels() * shape.out_channels,
                                      shape.weight_count(), (shape.height + padding) * (shape.width + padding)});
  expect(most <= INT_MAX, "od_conv", "expected at most ", INT_MAX, " elements of a padded sample or a kernel, got ",
         most);
}

/// Starts a kernel for the pixels of every sample; a group's `channels` lie along the columns of its tiles.
template <class Tiling, class T, class Kernel, class... Args>
void launch_over_pixels(Kernel kernel, const ConvShape& shape, std::int64_t pixels, std::int64_t channels,
                        Stream stream, const Dynamic<T>& dynamic, Args... args) {
  const Dim3 grid{blocks(pixels, Tiling::rows), group_tiles<Tiling>(shape, channels),
                  static_cast<unsigned>(shape.samples)};
  launch(kernel, grid, {Tiling::threads}, Tiling::template Operands<compute_type_t<T>>::size().bytes(), stream,
         geometry_of(shape), dynamic, args...);
}

}  // namespace

template <class T>
void od_conv_forward(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                     const T* weight, T* output, Stream stream) {
  check_extents(shape);
  with_pixel_tile(shape.out_pixels(), shape.group_out(), [&](auto tile) {
    using Tiling = decltype(tile);
    launch_over_pixels<Tiling>(forward_kernel<T, Tiling>, shape, shape.out_pixels(), shape.group_out(), stream,
                               dynamic_of(shape, attention, weight), input, output);
  });
}

template <class T>
void od_conv_data_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention,
                           const T* d_output, const T* weight, T* d_input, bool accumulate, Stream stream) {
  check_extents(shape);
  with_pixel_tile(shape.in_pixels(), shape.group_in(), [&](auto tile) {
    using Tiling = decltype(tile);
    launch_over_pixels<Tiling>(data_gradient_kernel<T, Tiling>, shape, shape.in_pixels(), shape.group_in(), stream,
                               dynamic_of(shape, attention, weight), d_output, d_input, accumulate);
  });
}

namespace {

constexpr int full_threads = 256;  // of the weight gradient, whose registers fill a multiprocessor

/// How the work of a weight gradient is shared out.
struct WeightWork {
  std::int64_t tiles;         // of a tap and kernel
  std::int64_t kernel_tiles;  // groups of kernels
  std::int64_t parts;         // of the samples
  std::int64_t weights;       // of all kernels
  std::int64_t shares;        // elements of Q

  template <class Tiling, class Value>
  static WeightWork of(const ConvShape& shape, std::int64_t kernels) {
    const std::int64_t kernel_tiles = blocks(kernels, flush_kernels<Value>);
    const Dim3 grid = weight_grid<Tiling>(shape, kernel_tiles);
    const std::int64_t tiles = std::int64_t{grid.x} * grid.y / shape.taps();
    return {.tiles = tiles,
            .kernel_tiles = kernel_tiles,
            .parts = parts_of_sum(blocks(tiles * shape.taps() * kernel_tiles * Tiling::threads, full_threads),
                                  shape.samples),
            .weights = kernels * shape.weight_count(),
            .shares = shape.samples * kernels * shape.taps()};
  }
};

}  // namespace

template <class Value>
std::int64_t od_conv_weight_gradient_workspace(const ConvShape& shape, std::int64_t kernels) {
  std::int64_t elements = 0;
  with_tile(shape.group_in(), [&](auto tile) {
    const auto work = WeightWork::of<decltype(tile), Value>(shape, kernels);
    elements = parts_workspace(work.parts, work.weights) + work.shares * work.tiles;
  });
  return elements;
}
template std::int64_t od_conv_weight_gradient_workspace<float>(const ConvShape&, std::int64_t);
template std::int64_t od_conv_weight_gradient_workspace<double>(const ConvShape&, std::int64_t);

template <class T>
void od_conv_weight_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention,
                             const T* input, const T* d_output, const T* weight, compute_type_t<T>* d_weight,
                             bool accumulate, compute_type_t<T>* weighted_kst, compute_type_t<T>* workspace,
                             Stream stream) {
  using Value = compute_type_t<T>;
  check_extents(shape);
  with_tile(shape.group_in(), [&](auto tile) {
    using Tiling = decltype(tile);
    const auto work = WeightWork::of<Tiling, Value>(shape, attention.kernels);
    Value* const partials = weighted_kst ? workspace + parts_workspace(work.parts, work.weights) : nullptr;
    sum_in_parts(work.parts, work.weights, d_weight, accumulate, workspace, stream, [&](Value* sums, bool add) {
      launch(weight_gradient_kernel<T, Tiling>, weight_grid<Tiling>(shape, work.kernel_tiles * work.parts),
             {Tiling::threads}, weight_gradient_bytes<Tiling, Value>(partials != nullptr), stream, geometry_of(shape),
             dynamic_of(shape, attention, weight), narrow(work.parts), input, d_output, sums, add, partials);
    });
    if (weighted_kst) sum_partials(partials, work.tiles, weighted_kst, work.shares, stream);
  });
}

#define OMNICONV_INSTANTIATE(T)                                                                                       \
  template void od_conv_forward(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*, const T*, T*,  \
                                Stream);                                                                              \
  template void od_conv_data_gradient(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*,          \
                                      const T*, T*, bool, Stream);                                                    \
  template void od_conv_weight_gradient(const ConvShape&, const AttentionValues<compute_type_t<T>>&, const T*,        \
                                        const T*, const T*, compute_type_t<T>*, bool, compute_type_t<T>*,             \
                                        compute_type_t<T>*, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
