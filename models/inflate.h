// Warm start: a static ResNet's weights in an ODResNet of the same shape, which then computes the same function.
#pragma once

#include <map>
#include <string>

#include "engine/host_tensor.h"
#include "models/resnet.h"

namespace omniconv {

/// The state of `store`, freshly initialised, with the static twin's tensors in it.
///
/// Attention heads are zero, so c = f = s = 1/2 and p = 1/K at any temperature; each kernel is the static one times 2
/// for each of c, f and s that its layer has: 8 for k x k, 4 for 1x1 and for depth-wise k x k. The trunks of the
/// attention keep their first values, everything else is the twin's. So that kernels can separate, which equal ones
/// never would, each gets `noise` times what it was initialised with, less the mean of that over the kernels: the
/// function stays.
///
/// `tensors` are named without "module."; those that do not fit are passed on, for load_state() to refuse.
std::map<std::string, HostTensor> inflated_state(const ParameterStore& store,
                                                 const std::map<std::string, HostTensor>& tensors, double noise);

}  // namespace omniconv
