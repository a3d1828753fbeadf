#include "kernels/averages.h"

#include "kernels/simt/simt.h"

namespace omniconv::kernels {

template <class T>
void add_scaled(double factor, const T* source, T* target, std::int64_t count, Stream stream) {
  const T f = static_cast<T>(factor);
  simt::for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) { target[i] += f * source[i]; });
}

template <class T>
void move_average(T* average, const T* value, const double* decay, std::int64_t count, Stream stream) {
  simt::for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    average[i] += static_cast<T>(1 - *decay) * (value[i] - average[i]);
  });
}

template <class T>
void exchange(T* a, T* b, std::int64_t count, Stream stream) {
  simt::for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    const T kept = a[i];
    a[i] = b[i];
    b[i] = kept;
  });
}

#define OMNICONV_INSTANTIATE(T)                                                  \
  template void add_scaled(double, const T*, T*, std::int64_t, Stream);          \
  template void move_average(T*, const T*, const double*, std::int64_t, Stream); \
  template void exchange(T*, T*, std::int64_t, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
