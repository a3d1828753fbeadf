// Every way in which this build can compute a dynamic convolution.
#pragma once

#include <string>

#include "engine/conv/dynamic_conv.h"

namespace omniconv::pytorch {

/// Calls body(name) under the default plan, then with each available algorithm forced.
template <class Body>
void for_each_algorithm(DType dtype, const Body& body) {
  body(std::string("default plan"));
  for (const conv::Algorithm algorithm : conv::all_algorithms) {
    if (!conv::is_available(algorithm, dtype)) continue;
    const conv::ForceAlgorithm forced(algorithm);
    body(std::string(conv::name_of(algorithm)));
  }
}

}  // namespace omniconv::pytorch
