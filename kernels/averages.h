// Averages of arrays: over views of an image, and of weights over steps.
#pragma once

#include <cstdint>

#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// target[i] += factor · source[i].
template <class T>
void add_scaled(double factor, const T* source, T* target, std::int64_t count, Stream stream);

/// average[i] += (1 - decay[0]) · (value[i] - average[i]); decay is one double on the device.
template <class T>
void move_average(T* average, const T* value, const double* decay, std::int64_t count, Stream stream);

/// Exchanges a[i] and b[i].
template <class T>
void exchange(T* a, T* b, std::int64_t count, Stream stream);

}  // namespace omniconv::kernels
