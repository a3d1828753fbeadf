// What algorithms A and D share: buffers of the right type and group-major layouts.
#pragma once

#include "engine/library/gemm.h"
#include "engine/tensor.h"
#include "kernels/aggregate.h"
#include "kernels/elementwise.h"
#include "kernels/pooling.h"

namespace omniconv::conv {

/// A scratch array of `count` elements of T.
template <class T>
class Buffer {
 public:
  explicit Buffer(std::int64_t count) : tensor_(Tensor::empty({count}, DTypeOf<T>::value)) {}
  T* get() const { return tensor_.data<T>(); }

 private:
  Tensor tensor_;
};

/// The columns of patches [groups, N, P, R·S, I/g], scaled by c.
template <class T>
Buffer<T> patches(const ConvShape& shape, const T* input, const T* channel, Stream stream) {
  Buffer<T> columns(shape.samples * shape.out_pixels() * shape.taps() * shape.in_channels);
  kernels::im2col(shape, input, channel, columns.get(), stream);
  return columns;
}

/// f ⊙ d_output as [groups, N, P, O/g].
template <class T>
Buffer<T> scaled_output_gradient(const ConvShape& shape, const T* filter, const T* d_output, Stream stream) {
  Buffer<T> result(shape.output_count());
  const std::int64_t pixels = shape.out_pixels(), groups = shape.params.groups;
  if (!filter) {
    kernels::split_groups(d_output, result.get(), shape.samples * pixels, groups, shape.group_out(), stream);
    return result;
  }
  Buffer<T> scaled(shape.output_count());
  kernels::scale_channels(d_output, filter, scaled.get(), shape.samples, pixels, shape.out_channels, false, stream);
  if (groups == 1) return scaled;
  kernels::split_groups(scaled.get(), result.get(), shape.samples * pixels, groups, shape.group_out(), stream);
  return result;
}

}  // namespace omniconv::conv
