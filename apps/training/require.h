// Refuses options that no run could have.
#pragma once

#include "engine/usage.h"

namespace omniconv {

/// @throws UsageError `[options] expected ...` unless `condition` holds.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  require_in("options", condition, parts...);
}

}  // namespace omniconv
