// Whether a machine can run a CUDA build, and if not, what its user can do about it.
#pragma once

#include <string>

namespace omniconv {

/// What CUDA says about the machine.
struct DeviceFacts {
  std::string failure;      ///< CUDA's text when it could not list devices; empty otherwise
  int driver_version = 0;   ///< newest CUDA the driver knows, as 13000 for 13.0; 0 without a driver
  int runtime_version = 0;  ///< the CUDA this build was made with
  bool driver_too_old = false;
  int devices = 0;
  std::string name;       ///< of the first device
  int capability = 0;     ///< its compute capability, as 90 for 9.0
  bool has_code = false;  ///< whether this build has kernels it can run
};

/// Asks CUDA. Never throws for want of a device.
DeviceFacts device_facts();

/// @throws Error in one line, with the remedy, unless these facts allow to compute.
void check_device(const DeviceFacts& facts);

}  // namespace omniconv
