// Running totals of loss and accuracy in device memory.
#pragma once

#include "engine/device.h"
#include "engine/tensor.h"
#include "kernels/cross_entropy.h"

namespace omniconv {

/// Grows on the device, batch by batch; read where a number is shown or kept.
class DeviceTotals {
 public:
  DeviceTotals() : memory_(Tensor::zeros({sizeof(kernels::ClassificationTotals)}, DType::u8)) {}

  kernels::ClassificationTotals* data() const {
    return reinterpret_cast<kernels::ClassificationTotals*>(memory_.raw());
  }
  /// Waits for the device.
  kernels::ClassificationTotals read() const {
    kernels::ClassificationTotals totals;
    copy_to_host(&totals, memory_.raw(), sizeof(totals));
    return totals;
  }
  void write(const kernels::ClassificationTotals& totals) const {
    copy_to_device(memory_.raw(), &totals, sizeof(totals));
  }

 private:
  Tensor memory_;
};

}  // namespace omniconv
