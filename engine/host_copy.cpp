#include "engine/host_copy.h"

#include "engine/device.h"

namespace omniconv {

void HostCopy::take(const Tensor& tensor) {
  const std::size_t bytes = static_cast<std::size_t>(tensor.count()) * size_of(tensor.dtype());
  if (bytes != bytes_) {
    memory_.reset();
    memory_ = allocate_host(bytes);
    bytes_ = bytes;
  }
  dtype_ = tensor.dtype();
  copy_to_host(memory_.get(), tensor.raw(), bytes);
}

}  // namespace omniconv
