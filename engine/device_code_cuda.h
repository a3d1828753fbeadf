// For which GPUs this build has code.
#pragma once

#include <string>

namespace omniconv {

/// The compute capabilities this build was compiled for, such as "8.0, 9.0".
std::string compiled_capabilities();

/// Whether the current device can run the kernels of this build.
bool device_has_code();

}  // namespace omniconv
