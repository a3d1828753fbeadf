// Tensor: a shape and a type over shared device memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/dtype.h"

namespace omniconv {

using Shape = std::vector<std::int64_t>;

/// Number of elements of `shape`. @throws Error on a negative extent or an overflow.
std::int64_t element_count(const Shape& shape);

/// A dense, row-major array on the device. Copies share memory; activations are [N, H, W, C].
class Tensor {
 public:
  /// No tensor at all: `defined()` is false.
  Tensor() = default;

  /// New memory, content undefined.
  static Tensor empty(Shape shape, DType dtype);
  /// New memory, all zero.
  static Tensor zeros(Shape shape, DType dtype);
  /// A copy of host values; `values.size()` must be the shape's count.
  template <class T>
  static Tensor from_host(const std::vector<T>& values, Shape shape);
  template <class T>
  static Tensor from_host(const std::vector<T>& values) {
    return from_host(values, {static_cast<std::int64_t>(values.size())});
  }

  bool defined() const { return memory_ != nullptr; }
  const Shape& shape() const { return shape_; }
  std::int64_t size(int axis) const { return shape_.at(static_cast<std::size_t>(axis)); }
  int rank() const { return static_cast<int>(shape_.size()); }
  std::int64_t count() const { return count_; }
  DType dtype() const { return dtype_; }
  std::size_t bytes() const { return static_cast<std::size_t>(count_) * size_of(dtype_); }

  /// Pointer to the first element. @throws Error if T is not the tensor's type.
  template <class T>
  T* data() const {
    if (DTypeOf<T>::value != dtype_) wrong_type(DTypeOf<T>::value);
    return reinterpret_cast<T*>(raw());
  }
  /// data(), or nullptr for an undefined tensor: for optional arguments of kernels.
  template <class T>
  T* data_or_null() const {
    return defined() ? data<T>() : nullptr;
  }
  std::byte* raw() const { return static_cast<std::byte*>(memory_.get()) + offset_bytes_; }

  /// `count(shape)` elements of this memory, from element `first` on.
  Tensor view(std::int64_t first, Shape shape) const;

  /// A copy on the host; waits for the device.
  template <class T>
  std::vector<T> to_host() const;
  /// The values on the host as doubles, whatever the floating type, 16 bits included.
  std::vector<double> to_doubles() const;

  void copy_from_host(const void* source) const;
  void copy_from(const Tensor& source) const;
  void set_zero() const;

 private:
  [[noreturn]] void wrong_type(DType asked) const;
  void copy_to_host_memory(void* target) const;

  std::shared_ptr<void> memory_;
  std::size_t offset_bytes_ = 0;
  Shape shape_;
  std::int64_t count_ = 0;
  DType dtype_ = DType::f32;
};

template <class T>
Tensor Tensor::from_host(const std::vector<T>& values, Shape shape) {
  Tensor tensor = empty(std::move(shape), DTypeOf<T>::value);
  expect(tensor.count() == static_cast<std::int64_t>(values.size()), "tensor", "expected ", tensor.count(),
         " values for shape ", tensor.shape(), ", got ", values.size());
  tensor.copy_from_host(values.data());
  return tensor;
}

template <class T>
std::vector<T> Tensor::to_host() const {
  if (DTypeOf<T>::value != dtype_) wrong_type(DTypeOf<T>::value);
  std::vector<T> values(static_cast<std::size_t>(count_));
  copy_to_host_memory(values.data());
  return values;
}

}  // namespace omniconv
