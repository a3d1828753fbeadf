#include "kernels/elementwise.h"

#include "kernels/half.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {

using namespace omniconv::simt;

template <class T>
void add(const T* source, T* target, std::int64_t count, Stream stream) {
  using Value = compute_type_t<T>;
  for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    target[i] = static_cast<T>(static_cast<Value>(target[i]) + static_cast<Value>(source[i]));
  });
}

template <class From, class To>
void convert(const From* source, To* target, std::int64_t count, bool accumulate, Stream stream) {
  for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    const auto value = static_cast<float>(source[i]);
    target[i] = static_cast<To>(accumulate ? static_cast<float>(target[i]) + value : value);
  });
}

template <class T>
void apply_affine(const T* input, const compute_type_t<T>* scale, const compute_type_t<T>* shift, const T* residual,
                  bool relu, T* output, std::int64_t rows, std::int64_t columns, Stream stream) {
  using Value = compute_type_t<T>;
  for_each_element(rows, columns, stream, [=] OMNI_HOST_DEVICE(std::int64_t row, std::int64_t c) {
    const std::int64_t i = row * columns + c;
    Value value = scale ? input[i] * scale[c] : static_cast<Value>(input[i]);
    if (shift) value += shift[c];
    if (residual) value += residual[i];
    output[i] = static_cast<T>(relu && value < Value(0) ? Value(0) : value);
  });
}

template <class T>
void mask_negative(const T* output, const T* d_output, T* masked, std::int64_t count, Stream stream) {
  for_each_index(count, stream,
                 [=] OMNI_HOST_DEVICE(std::int64_t i) { masked[i] = output[i] > 0 ? d_output[i] : T(0); });
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

#define OMNICONV_INSTANTIATE(T)                                                                                \
  template void add(const T*, T*, std::int64_t, Stream);                                                       \
  template void apply_affine(const T*, const compute_type_t<T>*, const compute_type_t<T>*, const T*, bool, T*, \
                             std::int64_t, std::int64_t, Stream);                                              \
  template void mask_negative(const T*, const T*, T*, std::int64_t, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

#define OMNICONV_INSTANTIATE(T)                                                               \
  template void split_groups(const T*, T*, std::int64_t, std::int64_t, std::int64_t, Stream); \
  template void merge_groups(const T*, T*, std::int64_t, std::int64_t, std::int64_t, bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

#define OMNICONV_INSTANTIATE(T)                                        \
  template void convert(const float*, T*, std::int64_t, bool, Stream); \
  template void convert(const T*, float*, std::int64_t, bool, Stream);
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
