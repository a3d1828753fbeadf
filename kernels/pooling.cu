#include "kernels/pooling.h"

#include "kernels/columns.h"

namespace omniconv::kernels {

namespace {

/// output[n, c] = scale Σ_p a[n, p, c] (· b[n, p, c] if there is a b).
template <class T, int W>
OMNI_KERNEL void pixel_sums(ColumnCut cut, const T* a, const T* b, double scale, T* output) {
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  const auto sums = combine_rows(sum_rows<1, T, W>(place, [&](std::int64_t row, Lanes<T, W>* sum) {
    const std::int64_t at = row * cut.columns + place.column;
    const auto value = Lanes<T, W>::load(a + at);
    sum[0] += b == nullptr ? value : value * Lanes<T, W>::load(b + at);
  }));
  if (!place.is_first) return;
  for (int i = 0; i < W; ++i)
    output[place.group * cut.columns + place.column + i] = static_cast<T>(sums.sum[0][i] * scale);
}

/// output[n, p, c] (+)= (input[n, p, c], or 1 without input) · scale[n, c] · factor.
template <class T, int W>
OMNI_KERNEL void scale_kernel(ColumnCut cut, const T* input, const T* scale, T factor, T* output, bool accumulate) {
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  if (place.row >= place.end) return;
  const auto value = Lanes<T, W>::load_unaligned(scale + place.group * cut.columns + place.column) *
                     Lanes<T, W>::all(factor);
  for (std::int64_t row = place.row; row < place.end; row += place.step) {
    const std::int64_t at = row * cut.columns + place.column;
    write(output + at, input == nullptr ? value : Lanes<T, W>::load(input + at) * value, accumulate);
  }
}

}  // namespace

template <class T>
void global_average_pool_forward(const T* input, T* output, std::int64_t samples, std::int64_t pixels,
                                 std::int64_t channels, Stream stream) {
  with_column_width<T>(channels, {input}, [&](auto width) {
    launch_on_columns<width, ColumnSums<1, width>>(pixel_sums<T, width>, whole_columns(samples, pixels, channels),
                                                   stream, input, nullptr, 1.0 / static_cast<double>(pixels), output);
  });
}

template <class T>
void global_average_pool_backward(const T* d_output, T* d_input, std::int64_t samples, std::int64_t pixels,
                                  std::int64_t channels, bool accumulate, Stream stream) {
  with_column_width<T>(channels, {d_input}, [&](auto width) {
    launch_on_columns<width>(scale_kernel<T, width>, whole_columns(samples, pixels, channels), stream, nullptr,
                             d_output, static_cast<T>(1.0 / static_cast<double>(pixels)), d_input, accumulate);
  });
}

template <class T>
void pixel_dot(const T* a, const T* b, T* sums, std::int64_t samples, std::int64_t pixels, std::int64_t channels,
               Stream stream) {
  with_column_width<T>(channels, {a, b}, [&](auto width) {
    launch_on_columns<width, ColumnSums<1, width>>(pixel_sums<T, width>, whole_columns(samples, pixels, channels),
                                                   stream, a, b, 1.0, sums);
  });
}

template <class T>
void scale_channels(const T* input, const T* scale, T* output, std::int64_t samples, std::int64_t pixels,
                    std::int64_t channels, bool accumulate, Stream stream) {
  with_column_width<T>(channels, {input, output}, [&](auto width) {
    launch_on_columns<width>(scale_kernel<T, width>, whole_columns(samples, pixels, channels), stream, input, scale,
                             T(1), output, accumulate);
  });
}

#define OMNICONV_INSTANTIATE(T)                                                                                      \
  template void global_average_pool_forward(const T*, T*, std::int64_t, std::int64_t, std::int64_t, Stream);         \
  template void global_average_pool_backward(const T*, T*, std::int64_t, std::int64_t, std::int64_t, bool, Stream);  \
  template void pixel_dot(const T*, const T*, T*, std::int64_t, std::int64_t, std::int64_t, Stream);                 \
  template void scale_channels(const T*, const T*, T*, std::int64_t, std::int64_t, std::int64_t, bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
