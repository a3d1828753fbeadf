// Refuses options that no call could have.
#pragma once

#include <string_view>

#include "kernels/error.h"

namespace omniconv {

/// Throws UsageError with the text `[where] expected parts...` unless `condition` holds.
template <class... Parts>
void require_in(std::string_view where, bool condition, const Parts&... parts) {
  if (!condition) throw UsageError(concat('[', where, "] expected ", parts...));
}

}  // namespace omniconv
