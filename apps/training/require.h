// Refuses options that no run could have.
#pragma once

#include "kernels/error.h"

namespace omniconv {

/// @throws UsageError `[options] expected ...` unless `condition` holds.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) throw UsageError(concat("[options] expected ", parts...));
}

}  // namespace omniconv
