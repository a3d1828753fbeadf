// Where the images of a data set lie: --images.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace omniconv {

/// No number depends on it.
enum class Residence {
  device,  ///< all images lie on the device
  host,    ///< they stay in the host's memory; those of a batch come to the device for its step
};

/// "device", "host", or nothing for "auto". @throws UsageError for another word.
std::optional<Residence> parse_residence(std::string_view word);

/// What "auto" means: the device, unless `image_bytes` would take more than half of the `free_bytes` that it has, which
/// leaves the other half to weights and activations. Where the device's memory is the host's (nothing), everything
/// fits.
Residence residence_for(std::size_t image_bytes, std::optional<std::size_t> free_bytes);

/// The same with the memory that the device has left now.
Residence residence_now(std::size_t image_bytes);

/// For people, behind what they lie.
std::string_view phrase_of(Residence residence);

inline constexpr const char* images_help =
    "Where images lie: device, host (batches stream to the device), or auto: the device if they fit";

}  // namespace omniconv
