// What bounds the memory that the decoders of pictures grow into.
#pragma once

#include <cstddef>

namespace omniconv {

/// While it lives, no block that the decoders enlarge on this thread gets more than `bytes`: a decoder that wants more
/// hears that there is no memory, and gives up. What they know the size of from a header they do not enlarge; what they
/// do are the compressed data of a PNG file, as they come to them, and what these unpack to.
class GrowthLimit {
 public:
  explicit GrowthLimit(std::size_t bytes);
  ~GrowthLimit();
  GrowthLimit(const GrowthLimit&) = delete;
  GrowthLimit& operator=(const GrowthLimit&) = delete;

  /// Whether a decoder wanted more.
  bool reached() const;
};

}  // namespace omniconv
