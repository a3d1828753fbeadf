// SGD over flat arenas, one launch for all parameters.
#pragma once

#include <cstdint>

#include "kernels/simt/stream.h"

namespace omniconv::kernels {

struct SgdSettings {
  double momentum = 0.9;
  double weight_decay = 5e-4;
  bool nesterov = false;
};

/// As PyTorch's torch.optim.SGD with dampening 0:
///   g = gradient + weight_decay · weight;  v = momentum · v + g;  weight -= lr · (nesterov ? g + momentum · v : v)
/// The velocity starts at zero, which equals PyTorch's first step (v = g). learning_rate is one double on the device;
/// so is `skip`, one i32: unless it is 0, nothing changes (nullptr stands for 0).
template <class T>
void sgd_step(T* weight, const T* gradient, T* velocity, std::int64_t count, const double* learning_rate,
              const std::int32_t* skip, const SgdSettings& settings, Stream stream);

}  // namespace omniconv::kernels
