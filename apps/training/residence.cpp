#include "apps/training/residence.h"

#include "apps/training/require.h"
#include "engine/allocator.h"
#include "engine/device.h"
#include "engine/files.h"

namespace omniconv {

std::optional<Residence> parse_residence(std::string_view word) {
  require(word == "device" || word == "host" || word == "auto", "--images device, host or auto, got ", in_quotes(word));
  if (word == "auto") return std::nullopt;
  return word == "host" ? Residence::host : Residence::device;
}

Residence residence_for(std::size_t image_bytes, std::optional<std::size_t> free_bytes) {
  return !free_bytes || image_bytes <= *free_bytes / 2 ? Residence::device : Residence::host;
}

Residence residence_now(std::size_t image_bytes) {
  std::optional<std::size_t> free = free_device_bytes();
  // The allocator gives back what it keeps for reuse, such as that of the run before in a series.
  if (free) *free += memory_statistics().cached_bytes;
  return residence_for(image_bytes, free);
}

std::string_view phrase_of(Residence residence) {
  return residence == Residence::host ? "streamed from the host" : "on the device";
}

}  // namespace omniconv
