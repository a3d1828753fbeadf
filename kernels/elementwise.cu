#include "kernels/elementwise.h"

#include "kernels/simt/simt.h"

namespace omniconv::kernels {

using namespace omniconv::simt;

template <class T>
void add(const T* source, T* target, std::int64_t count, Stream stream) {
  for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) { target[i] += source[i]; });
}

template <class T>
void apply_affine(const T* input, const T* scale, const T* shift, const T* residual, bool relu, T* output,
                  std::int64_t rows, std::int64_t columns, Stream stream) {
  for_each_element(rows, columns, stream, [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t c) {
    const std::int64_t i = row * columns + c;
    T value = scale ? input[i] * scale[c] : input[i];
    if (shift) value += shift[c];
    if (residual) value += residual[i];
    output[i] = relu && value < T(0) ? T(0) : value;
  });
}

template <class T>
void mask_negative(const T* output, const T* d_output, T* masked, std::int64_t count, Stream stream) {
  for_each_index(count, stream,
                 [=] OMNI_HOST_DEVICE(std::int64_t i) { masked[i] = output[i] > T(0) ? d_output[i] : T(0); });
}

template <class T>
void split_groups(const T* source, T* target, std::int64_t rows, std::int64_t groups, std::int64_t width,
                  Stream stream) {
  for_each_element(rows * groups, width, stream, [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t j) {
    target[(row % groups * rows + row / groups) * width + j] = source[row * width + j];
  });
}

template <class T>
void merge_groups(const T* source, T* target, std::int64_t rows, std::int64_t groups, std::int64_t width,
                  bool accumulate, Stream stream) {
  for_each_element(rows * groups, width, stream, [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t j) {
    const T value = source[(row % groups * rows + row / groups) * width + j];
    T& merged = target[row * width + j];
    merged = accumulate ? merged + value : value;
  });
}

#define OMNICONV_INSTANTIATE(T)                                                                                     \
  template void add(const T*, T*, std::int64_t, Stream);                                                            \
  template void apply_affine(const T*, const T*, const T*, const T*, bool, T*, std::int64_t, std::int64_t, Stream); \
  template void mask_negative(const T*, const T*, T*, std::int64_t, Stream);                                        \
  template void split_groups(const T*, T*, std::int64_t, std::int64_t, std::int64_t, Stream);                       \
  template void merge_groups(const T*, T*, std::int64_t, std::int64_t, std::int64_t, bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
