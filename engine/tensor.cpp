#include "engine/tensor.h"

#include <utility>

#include "engine/allocator.h"
#include "engine/device.h"

namespace omniconv {

Tensor Tensor::empty(Shape shape, DType dtype) {
  Tensor tensor;
  tensor.count_ = element_count(shape);
  tensor.shape_ = std::move(shape);
  tensor.dtype_ = dtype;
  tensor.memory_ = allocate(tensor.bytes());
  return tensor;
}

Tensor Tensor::zeros(Shape shape, DType dtype) {
  Tensor tensor = empty(std::move(shape), dtype);
  tensor.set_zero();
  return tensor;
}

Tensor Tensor::view(std::int64_t first, Shape shape) const {
  const std::int64_t count = element_count(shape);
  expect(first >= 0 && first <= count_ - count, "tensor", "expected a view within ", count_, " elements, got ", count,
         " from ", first);
  Tensor tensor = *this;
  tensor.offset_bytes_ += static_cast<std::size_t>(first) * size_of(dtype_);
  tensor.count_ = count;
  tensor.shape_ = std::move(shape);
  return tensor;
}

std::vector<double> Tensor::to_doubles() const {
  return dispatch_storage("tensor", dtype_, [&](auto zero) {
    const auto values = to_host<decltype(zero)>();
    return std::vector<double>(values.begin(), values.end());
  });
}

void Tensor::copy_from_host(const void* source) const { copy_to_device(raw(), source, bytes()); }

void Tensor::copy_from(const Tensor& source) const {
  expect(source.dtype_ == dtype_ && source.count_ == count_, "tensor", "expected a source of ", count_, " ",
         name_of(dtype_), ", got ", source.count_, " ", name_of(source.dtype_));
  copy_on_device(raw(), source.raw(), bytes(), main_stream());
}

void Tensor::set_zero() const { fill_zero(raw(), bytes(), main_stream()); }

void Tensor::wrong_type(DType asked) const {
  fail("tensor", "expected a tensor of ", name_of(asked), ", got ", name_of(dtype_));
}

void Tensor::copy_to_host_memory(void* target) const { copy_to_host(target, raw(), bytes()); }

}  // namespace omniconv
