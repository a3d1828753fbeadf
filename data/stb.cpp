// The implementations of stb's single-header libraries, without access to files: those are read and written by
// engine/files.h.
#include <cstdlib>
#include <limits>

#include "data/stb.h"

namespace omniconv {
namespace {

constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();
thread_local std::size_t most_bytes = unlimited;
thread_local bool limit_reached = false;

void* enlarge(void* block, std::size_t bytes) {
  if (bytes <= most_bytes) return std::realloc(block, bytes);
  limit_reached = true;
  return nullptr;
}

}  // namespace

GrowthLimit::GrowthLimit(std::size_t bytes) {
  most_bytes = bytes;
  limit_reached = false;
}

GrowthLimit::~GrowthLimit() {
  most_bytes = unlimited;
}

bool GrowthLimit::reached() const {
  return limit_reached;
}

}  // namespace omniconv

#define STBI_MALLOC(bytes) std::malloc(bytes)
#define STBI_REALLOC(block, bytes) omniconv::enlarge(block, bytes)
#define STBI_FREE(block) std::free(block)
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_ONLY_BMP
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>

#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>
