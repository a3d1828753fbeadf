#include "kernels/pooling.h"

#include "kernels/columns.h"
#include "kernels/error.h"

namespace omniconv::kernels {
namespace {

/// sums[group] = the sum of the group's rows of a·b.
template <class T, int W>
OMNI_KERNEL void dot_kernel(ColumnCut cut, const T* a, const T* b, compute_type_t<T>* dots) {
  using Value = compute_type_t<T>;
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  const auto sums = combine_rows(sum_rows<1, Value, W>(place, [&](std::int64_t row, Lanes<Value, W>* sum) {
    const std::int64_t at = row * cut.columns + place.column;
    sum[0] += Lanes<Value, W>::load(a + at) * Lanes<Value, W>::load(b + at);
  }));
  if (!place.is_first) return;
  Value* const target = dots + place.group * cut.columns + place.column;
  for (int i = 0; i < W; ++i) target[i] = static_cast<Value>(sums.sum[0][i]);
}

/// output (+)= factor · the group's scale, times input unless that is nullptr.
template <class T, int W>
OMNI_KERNEL void scale_kernel(ColumnCut cut, const T* input, const compute_type_t<T>* scale, compute_type_t<T> factor,
                              T* output, bool accumulate) {
  using Values = Lanes<compute_type_t<T>, W>;
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  if (place.row >= place.end) return;
  const auto scales =
      Values::load_unaligned(scale + place.group * cut.columns + place.column) * Values::all(factor);
  for (std::int64_t row = place.row; row < place.end; row += place.step) {
    const std::int64_t at = row * cut.columns + place.column;
    write(output + at, input == nullptr ? scales : Values::load(input + at) * scales, accumulate);
  }
}

void check_shape(std::int64_t samples, std::int64_t pixels, std::int64_t channels) {
  expect(samples >= 0 && pixels >= 1 && channels >= 1, "pooling",
         "expected a shape of samples, pixels and channels with at least 1 pixel and 1 channel, got ",
         std::vector{samples, pixels, channels});
}

}  // namespace

template <class T>
void global_average_pool_forward(const T* input, compute_type_t<T>* output, std::int64_t samples, std::int64_t pixels,
                                 std::int64_t channels, Stream stream) {
  check_shape(samples, pixels, channels);
  launch_column_sums<T>(samples, pixels, channels, input, 1 / static_cast<double>(pixels), output, false, stream);
}

template <class T>
void global_average_pool_backward(const compute_type_t<T>* d_output, T* d_input, std::int64_t samples, std::int64_t pixels,
                                  std::int64_t channels, bool accumulate, Stream stream) {
  check_shape(samples, pixels, channels);
  with_column_width<T>(channels, {d_input}, [&](auto width) {
    launch_on_columns<width>(scale_kernel<T, width>, cut_columns<T>(samples, pixels, channels), stream, nullptr,
                             d_output, compute_type_t<T>(1) / static_cast<compute_type_t<T>>(pixels), d_input,
                             accumulate);
  });
}

template <class T>
void pixel_dot(const T* a, const T* b, compute_type_t<T>* sums, std::int64_t samples, std::int64_t pixels,
               std::int64_t channels, Stream stream) {
  check_shape(samples, pixels, channels);
  with_column_width<T>(channels, {a, b}, [&](auto width) {
    launch_on_columns<width, ColumnSums<1, width>>(dot_kernel<T, width>, whole_columns(samples, pixels, channels),
                                                   stream, a, b, sums);
  });
}

template <class T>
void scale_channels(const T* input, const compute_type_t<T>* scale, T* output, std::int64_t samples,
                    std::int64_t pixels, std::int64_t channels, bool accumulate, Stream stream) {
  check_shape(samples, pixels, channels);
  with_column_width<T>(channels, {input, output}, [&](auto width) {
    launch_on_columns<width>(scale_kernel<T, width>, cut_columns<T>(samples, pixels, channels), stream, input, scale,
                             compute_type_t<T>(1), output, accumulate);
  });
}

#define OMNICONV_INSTANTIATE(T)                                                                                       \
  template void global_average_pool_forward(const T*, compute_type_t<T>*, std::int64_t, std::int64_t, std::int64_t,   \
                                            Stream);                                                                  \
  template void global_average_pool_backward(const compute_type_t<T>*, T*, std::int64_t, std::int64_t, std::int64_t,  \
                                             bool, Stream);                                                           \
  template void pixel_dot(const T*, const T*, compute_type_t<T>*, std::int64_t, std::int64_t, std::int64_t, Stream);  \
  template void scale_channels(const T*, const compute_type_t<T>*, T*, std::int64_t, std::int64_t, std::int64_t,      \
                               bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
