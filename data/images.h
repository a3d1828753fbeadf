// Labelled images as files and memory hold them: square RGB, 32x32 in files, one byte per channel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace omniconv {

inline constexpr std::int64_t image_channels = 3;
inline constexpr std::int64_t image_extent = 32;  ///< height and width
inline constexpr std::int64_t image_bytes = image_channels * image_extent * image_extent;

struct ImageSet {
  std::vector<std::uint8_t> images;    ///< [count, 3, extent, extent]: R, G and B planes, rows from the top
  std::vector<std::uint8_t> labels;    ///< [count], each an index of class_names
  std::int64_t extent = image_extent;  ///< height and width

  std::int64_t count() const { return static_cast<std::int64_t>(labels.size()); }
  friend bool operator==(const ImageSet&, const ImageSet&) = default;
};

struct ImageData {
  ImageSet train, test;
  std::vector<std::string> class_names;  ///< [classes]

  friend bool operator==(const ImageData&, const ImageData&) = default;
};

}  // namespace omniconv
