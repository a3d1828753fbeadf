#include "kernels/aggregate.h"

#include "kernels/dynamic.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {

namespace {

using namespace omniconv::simt;

constexpr unsigned sum_threads = 128;

// Block (n, t) holds sample n's D at tap t against each kernel in turn.
template <class T>
OMNI_KERNEL void weighted_shares_kernel(Dynamic<T> dynamic, const T* d_aggregated, T* weighted_kst) {
  const std::int64_t n = block_index().y;
  const std::int64_t t = block_index().x;
  for (std::int64_t k = 0; k < dynamic.attention.kernels; ++k) {
    T dot = 0;
    for (std::int64_t e = thread_rank(); e < dynamic.out_channels * dynamic.group_in; e += block_extent().x) {
      const std::int64_t o = e / dynamic.group_in;
      const std::int64_t i = e % dynamic.group_in;
      dot += d_aggregated[dynamic.weight_index(n, o, t, i)] * dynamic.weight[dynamic.weight_index(k, o, t, i)];
    }
    const T total = block_sum(dot);
    if (thread_rank() == 0)
      weighted_kst[(n * dynamic.attention.kernels + k) * dynamic.taps + t] = dynamic.share(n, k, t) * total;
  }
}

// Block (n, k): Σ over pixels and output channels.
template <class T>
OMNI_KERNEL void kernel_dot_kernel(Dynamic<T> dynamic, std::int64_t out_pixels, const T* d_output, const T* products,
                                   T* weighted_kernel) {
  const std::int64_t n = block_index().y;
  const std::int64_t k = block_index().x;
  const std::int64_t kernels = dynamic.attention.kernels;
  T dot = 0;
  for (std::int64_t e = thread_rank(); e < out_pixels * dynamic.out_channels; e += block_extent().x) {
    const std::int64_t p = e / dynamic.out_channels;
    const std::int64_t o = e % dynamic.out_channels;
    dot += dynamic.filter(n, o) * d_output[n * out_pixels * dynamic.out_channels + e] *
           products[((n * out_pixels + p) * kernels + k) * dynamic.out_channels + o];
  }
  const T total = block_sum(dot);
  if (thread_rank() == 0) weighted_kernel[n * kernels + k] = dynamic.kernel(n, k) * total;
}

// Block (n, t): Σ over groups, pixels and the group's input channels.
template <class T>
OMNI_KERNEL void tap_dot_kernel(std::int64_t samples, std::int64_t groups, std::int64_t out_pixels, std::int64_t taps,
                                std::int64_t group_in, const T* columns, const T* d_columns, T* weighted_spatial) {
  const std::int64_t n = block_index().y;
  const std::int64_t t = block_index().x;
  T dot = 0;
  for (std::int64_t e = thread_rank(); e < groups * out_pixels * group_in; e += block_extent().x) {
    const std::int64_t g = e / (out_pixels * group_in);
    const std::int64_t p = e / group_in % out_pixels;
    const std::int64_t index = (((g * samples + n) * out_pixels + p) * taps + t) * group_in + e % group_in;
    dot += columns[index] * d_columns[index];
  }
  const T total = block_sum(dot);
  if (thread_rank() == 0) weighted_spatial[n * taps + t] = total;
}

}  // namespace

template <class T>
void aggregate_weights(const ConvShape& shape, const AttentionValues<T>& attention, const T* weight, T* aggregated,
                       Stream stream) {
  const Dynamic<T> dynamic = dynamic_of(shape, attention, weight);
  const std::int64_t rows = shape.out_channels * shape.taps();
  for_each_element(shape.samples * rows, shape.group_in(), stream,
                   [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t i) {
                     const std::int64_t n = row / rows;
                     const std::int64_t o = row % rows / dynamic.taps;
                     aggregated[row * dynamic.group_in + i] = dynamic.aggregated(n, o, row % dynamic.taps, i);
                   });
}

template <class T>
void aggregate_weights_backward(const ConvShape& shape, const AttentionValues<T>& attention, const T* weight,
                                const T* d_aggregated, T* d_weight, bool accumulate, T* weighted_kst, Stream stream) {
  const Dynamic<T> dynamic = dynamic_of(shape, attention, weight);
  if (d_weight) {
    const std::int64_t rows = shape.out_channels * shape.taps();
    const std::int64_t samples = shape.samples;
    for_each_element(attention.kernels * rows, shape.group_in(), stream,
                     [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t i) {
                       T sum = 0;
                       for (std::int64_t n = 0; n < samples; ++n)
                         sum += dynamic.share(n, row / rows, row % dynamic.taps) *
                                d_aggregated[(n * rows + row % rows) * dynamic.group_in + i];
                       T& target = d_weight[row * dynamic.group_in + i];
                       target = accumulate ? target + sum : sum;
                     });
  }
  if (weighted_kst) {
    launch(weighted_shares_kernel<T>, {static_cast<unsigned>(shape.taps()), static_cast<unsigned>(shape.samples)},
           {sum_threads}, 0, stream, dynamic, d_aggregated, weighted_kst);
  }
}

template <class T>
void im2col(const ConvShape& shape, const T* input, const T* channel, T* columns, Stream stream) {
  const Geometry geometry = geometry_of(shape);
  const std::int64_t samples = shape.samples, pixels = shape.out_pixels(), in_pixels = shape.in_pixels();
  const std::int64_t taps = shape.taps(), in_channels = shape.in_channels, group_in = shape.group_in();
  for_each_element(shape.params.groups * samples * pixels * taps, group_in, stream,
                   [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t i) {
                     const std::int64_t n = row / (pixels * taps) % samples;
                     const std::int64_t source = geometry.input_pixel(row / taps % pixels, row % taps);
                     const std::int64_t c = row / (samples * pixels * taps) * group_in + i;
                     T value = source < 0 ? T(0) : input[(n * in_pixels + source) * in_channels + c];
                     if (channel) value *= channel[n * in_channels + c];
                     columns[row * group_in + i] = value;
                   });
}

template <class T>
void col2im(const ConvShape& shape, const T* d_columns, const T* channel, T* d_input, bool accumulate, Stream stream) {
  const Geometry geometry = geometry_of(shape);
  const std::int64_t samples = shape.samples, pixels = shape.out_pixels(), in_pixels = shape.in_pixels();
  const std::int64_t taps = shape.taps(), in_channels = shape.in_channels, group_in = shape.group_in();
  for_each_element(samples * in_pixels, in_channels, stream, [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t c) {
    const std::int64_t n = row / in_pixels;
    T sum = 0;
    for (std::int64_t t = 0; t < taps; ++t) {
      const std::int64_t p = geometry.output_pixel(row % in_pixels, t);
      if (p < 0) continue;
      sum += d_columns[(((c / group_in * samples + n) * pixels + p) * taps + t) * group_in + c % group_in];
    }
    if (channel) sum *= channel[n * in_channels + c];
    T& target = d_input[row * in_channels + c];
    target = accumulate ? target + sum : sum;
  });
}

template <class T>
void scale_taps(const ConvShape& shape, const T* spatial, T* columns, Stream stream) {
  const std::int64_t samples = shape.samples, pixels = shape.out_pixels(), taps = shape.taps();
  const std::int64_t group_in = shape.group_in();
  for_each_element(shape.params.groups * samples * pixels * taps, group_in, stream,
                   [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t i) {
                     const std::int64_t n = row / (pixels * taps) % samples;
                     columns[row * group_in + i] *= spatial[n * taps + row % taps];
                   });
}

template <class T>
void combine_kernels(const ConvShape& shape, const AttentionValues<T>& attention, const T* products, T* output,
                     Stream stream) {
  const Dynamic<T> dynamic = dynamic_of<T>(shape, attention, nullptr);
  const std::int64_t pixels = shape.out_pixels();
  for_each_element(shape.samples * pixels, shape.out_channels, stream,
                   [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t o) {
                     const std::int64_t n = row / pixels;
                     const std::int64_t kernels = dynamic.attention.kernels;
                     T sum = 0;
                     for (std::int64_t k = 0; k < kernels; ++k)
                       sum += dynamic.kernel(n, k) * products[(row * kernels + k) * dynamic.out_channels + o];
                     output[row * dynamic.out_channels + o] = dynamic.filter(n, o) * sum;
                   });
}

template <class T>
void spread_kernels(const ConvShape& shape, const AttentionValues<T>& attention, const T* d_output, T* products,
                    Stream stream) {
  const Dynamic<T> dynamic = dynamic_of<T>(shape, attention, nullptr);
  const std::int64_t pixels = shape.out_pixels();
  for_each_element(shape.samples * pixels * attention.kernels, shape.out_channels, stream,
                   [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t o) {
                     const std::int64_t pixel = row / dynamic.attention.kernels;
                     const std::int64_t n = pixel / pixels;
                     products[row * dynamic.out_channels + o] = dynamic.filter(n, o) *
                                                                dynamic.kernel(n, row % dynamic.attention.kernels) *
                                                                d_output[pixel * dynamic.out_channels + o];
                   });
}

template <class T>
void kernel_dot(const ConvShape& shape, const AttentionValues<T>& attention, const T* d_output, const T* products,
                T* weighted_kernel, Stream stream) {
  launch(kernel_dot_kernel<T>, {static_cast<unsigned>(attention.kernels), static_cast<unsigned>(shape.samples)},
         {sum_threads}, 0, stream, dynamic_of<T>(shape, attention, nullptr), shape.out_pixels(), d_output, products,
         weighted_kernel);
}

template <class T>
void tap_dot(const ConvShape& shape, const T* columns, const T* d_columns, T* weighted_spatial, Stream stream) {
  launch(tap_dot_kernel<T>, {static_cast<unsigned>(shape.taps()), static_cast<unsigned>(shape.samples)},
         {sum_threads}, 0, stream, shape.samples, shape.params.groups, shape.out_pixels(), shape.taps(),
         shape.group_in(), columns, d_columns, weighted_spatial);
}

#define OMNICONV_INSTANTIATE(T)                                                                                       \
  template void aggregate_weights(const ConvShape&, const AttentionValues<T>&, const T*, T*, Stream);                 \
  template void aggregate_weights_backward(const ConvShape&, const AttentionValues<T>&, const T*, const T*, T*, bool, \
                                           T*, Stream);                                                               \
  template void im2col(const ConvShape&, const T*, const T*, T*, Stream);                                             \
  template void col2im(const ConvShape&, const T*, const T*, T*, bool, Stream);                                       \
  template void scale_taps(const ConvShape&, const T*, T*, Stream);                                                   \
  template void combine_kernels(const ConvShape&, const AttentionValues<T>&, const T*, T*, Stream);                   \
  template void spread_kernels(const ConvShape&, const AttentionValues<T>&, const T*, T*, Stream);                    \
  template void kernel_dot(const ConvShape&, const AttentionValues<T>&, const T*, const T*, T*, Stream);              \
  template void tap_dot(const ConvShape&, const T*, const T*, T*, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
