#include "kernels/pooling.h"

#include "kernels/columns.h"
#include "kernels/error.h"

namespace omniconv::kernels {
namespace {

/// sums[group] = the sum of the group's rows of a·b.
template <class T, int W>
OMNI_KERNEL void dot_kernel(ColumnCut cut, const T* a, const T* b, T* dots) {
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  const auto sums = combine_rows(sum_rows<1, T, W>(place, [&](std::int64_t row, Lanes<T, W>* sum) {
    const std::int64_t at = row * cut.columns + place.column;
    sum[0] += Lanes<T, W>::load(a + at) * Lanes<T, W>::load(b + at);
  }));
  if (!place.is_first) return;
  T* const target = dots + place.group * cut.columns + place.column;
  for (int i = 0; i < W; ++i) target[i] = static_cast<T>(sums.sum[0][i]);
}

/// output (+)= factor · the group's scale, times input unless that is nullptr.
template <class T, int W>
OMNI_KERNEL void scale_kernel(ColumnCut cut, const T* input, const T* scale, T factor, T* output, bool accumulate) {
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  if (place.row >= place.end) return;
  const auto scales = Lanes<T, W>::load_unaligned(scale + place.group * cut.columns + place.column) *
                      Lanes<T, W>::all(factor);
  for (std::int64_t row = place.row; row < place.end; row += place.step) {
    const std::int64_t at = row * cut.columns + place.column;
    write(output + at, input == nullptr ? scales : Lanes<T, W>::load(input + at) * scales, accumulate);
  }
}

void check_shape(std::int64_t samples, std::int64_t pixels, std::int64_t channels) {
  expect(samples >= 0 && pixels >= 1 && channels >= 1, "pooling",
         "expected a shape of samples, pixels and channels with at least 1 pixel and 1 channel, got ",
         std::vector{samples, pixels, channels});
}

}  // namespace

template <class T>
void global_average_pool_forward(const T* input, T* output, std::int64_t samples, std::int64_t pixels,
                                 std::int64_t channels, Stream stream) {
  check_shape(samples, pixels, channels);
  launch_column_sums(samples, pixels, channels, input, 1 / static_cast<double>(pixels), output, false, stream);
}

template <class T>
void global_average_pool_backward(const T* d_output, T* d_input, std::int64_t samples, std::int64_t pixels,
                                  std::int64_t channels, bool accumulate, Stream stream) {
  check_shape(samples, pixels, channels);
  with_column_width<T>(channels, {d_input}, [&](auto width) {
    launch_on_columns<width>(scale_kernel<T, width>, cut_columns<T>(samples, pixels, channels), stream, nullptr,
                             d_output, T(1) / static_cast<T>(pixels), d_input, accumulate);
  });
}

template <class T>
void pixel_dot(const T* a, const T* b, T* sums, std::int64_t samples, std::int64_t pixels, std::int64_t channels,
               Stream stream) {
  check_shape(samples, pixels, channels);
  with_column_width<T>(channels, {a, b}, [&](auto width) {
    launch_on_columns<width, ColumnSums<1, width>>(dot_kernel<T, width>, whole_columns(samples, pixels, channels),
                                                   stream, a, b, sums);
  });
}

template <class T>
void scale_channels(const T* input, const T* scale, T* output, std::int64_t samples, std::int64_t pixels,
                    std::int64_t channels, bool accumulate, Stream stream) {
  check_shape(samples, pixels, channels);
  with_column_width<T>(channels, {input, output}, [&](auto width) {
    launch_on_columns<width>(scale_kernel<T, width>, cut_columns<T>(samples, pixels, channels), stream, input, scale,
                             T(1), output, accumulate);
  });
}

#define OMNICONV_INSTANTIATE(T)                                                                                       \
  template void global_average_pool_forward(const T*, T*, std::int64_t, std::int64_t, std::int64_t, Stream);          \
  template void global_average_pool_backward(const T*, T*, std::int64_t, std::int64_t, std::int64_t, bool, Stream);   \
  template void pixel_dot(const T*, const T*, T*, std::int64_t, std::int64_t, std::int64_t, Stream);                  \
  template void scale_channels(const T*, const T*, T*, std::int64_t, std::int64_t, std::int64_t, bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
