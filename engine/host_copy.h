// A copy of a tensor in memory of the host, to be read while the device works on.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "engine/tensor.h"

namespace omniconv {

/// Owns its memory, which on CUDA is pinned: copies then run at full speed.
class HostCopy {
 public:
  /// Takes the values over as all work queued so far leaves them, and waits for that. The memory of the time before
  /// serves again if it has the size: nobody may read there any more.
  void take(const Tensor& tensor);

  DType dtype() const { return dtype_; }
  /// All elements, in the tensor's order; valid until take() is called again. @throws Error if T is not the dtype.
  template <class T>
  std::span<const T> values() const {
    expect(DTypeOf<T>::value == dtype_, "host_copy", "expected values of ", name_of(dtype_), ", got a request for ",
           name_of(DTypeOf<T>::value));
    return {reinterpret_cast<const T*>(memory_.get()), bytes_ / sizeof(T)};
  }

 private:
  DType dtype_ = DType::f32;
  std::size_t bytes_ = 0;
  std::shared_ptr<std::byte> memory_;
};

}  // namespace omniconv
