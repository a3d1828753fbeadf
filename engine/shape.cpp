// The count of a shape stands apart from the rest of engine/tensor.h, so that readers of files need no device.
#include <limits>

#include "engine/tensor.h"

namespace omniconv {

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (std::int64_t extent : shape) {
    expect(extent >= 0, "tensor", "expected extents of at least 0, got shape ", shape);
    expect(extent == 0 || count <= std::numeric_limits<std::int64_t>::max() / 8 / extent, "tensor",
           "expected a shape that fits into memory, got ", shape);
    count *= extent;
  }
  return count;
}

}  // namespace omniconv
