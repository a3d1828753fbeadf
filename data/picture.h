// Pictures in files: PNG, JPEG and BMP of any size, decoded with bounds, and resized to what a model takes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace omniconv {

struct Picture {
  std::int64_t height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  ///< [height, width, 3]: R, G, B, rows from the top

  friend bool operator==(const Picture&, const Picture&) = default;
};

/// Most pixels of a picture that is decoded: 300 MB of memory, an order of magnitude above what cameras take.
inline constexpr std::int64_t most_picture_pixels = 100'000'000;

/// Decodes the PNG, JPEG or BMP file at `path`. Grey becomes R = G = B, transparency and a camera's orientation tag are
/// ignored, 16 bits per channel become 8.
/// @throws Error `[picture] PATH: expected ..., got ...` for a file that is missing, none of the three, truncated,
/// damaged or too large; the size is checked before memory is asked for, and bounds what a PNG file unpacks to.
Picture read_picture(const std::string& path);

/// The bytes of a PNG file. @throws Error for an empty picture or one whose pixels do not fit its size.
std::string encode_png(const Picture& picture);

/// The picture scaled to `extent` x `extent` pixels whatever its sides were, as planes [3, extent, extent]. Bilinear:
/// where it shrinks, the triangle's base grows with it, so that every pixel counts (as Pillow and torchvision with
/// antialiasing do). A picture of that size stays as it is.
std::vector<std::uint8_t> resize_to_planes(const Picture& picture, std::int64_t extent);

}  // namespace omniconv
