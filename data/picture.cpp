#include "data/picture.h"

#define STBI_NO_STDIO
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "data/stb.h"
#include "engine/files.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::string_view where = "picture";
constexpr std::int64_t channels = 3;
constexpr std::uint64_t longest_file = 1 << 28;  // far above a compressed picture of the most pixels

/// `count` bytes from `position` on as a number, the most significant one first; they must be there.
std::uint32_t big_endian(Bytes bytes, std::size_t position, std::size_t count) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value = value << 8 | bytes[position + i];
  return value;
}

std::uint32_t little_endian(Bytes bytes, std::size_t position, std::size_t count) {
  std::uint32_t value = 0;
  for (std::size_t i = count; i-- > 0;) value = value << 8 | bytes[position + i];
  return value;
}

bool begins_with(Bytes bytes, std::string_view signature) {
  return bytes.size() >= signature.size() &&
         std::equal(signature.begin(), signature.end(), bytes.begin(),
                    [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; });
}

/// CRC-32 of PNG (ISO 3309).
std::uint32_t crc32(Bytes bytes) {
  static const std::array<std::uint32_t, 256> table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < entries.size(); ++i) {
      entries[i] = i;
      for (int bit = 0; bit < 8; ++bit) entries[i] = entries[i] >> 1 ^ (entries[i] & 1 ? 0xEDB88320u : 0u);
    }
    return entries;
  }();
  std::uint32_t crc = ~0u;
  for (const std::uint8_t byte : bytes) crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF];
  return ~crc;
}

// The decoder fills what a truncated file lacks with grey, and checks no sums. The functions below say what is wrong
// with the frame of a file of each format, nothing if it is whole.

std::string png_fault(Bytes bytes) {
  constexpr std::size_t around = 12;  // length, type and checksum of a chunk
  for (std::size_t position = 8; position + around <= bytes.size();) {
    const std::size_t length = big_endian(bytes, position, 4);
    if (length > bytes.size() - position - around) break;
    const Bytes typed = bytes.subspan(position + 4, 4 + length);
    const bool critical = (typed[0] & 0x20) == 0;
    if (critical && crc32(typed) != big_endian(bytes, position + 8 + length, 4))
      return concat("a damaged chunk at byte ", position);
    if (begins_with(typed, "IEND")) return "";
    position += around + length;
  }
  return "a truncated file";
}

std::string jpeg_fault(Bytes bytes) {
  constexpr std::uint8_t end_of_image = 0xD9, start_of_scan = 0xDA, fill = 0xFF;
  const auto stands_alone = [](std::uint8_t marker) { return marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8); };
  for (std::size_t position = 0; position + 1 < bytes.size();) {
    const std::uint8_t marker = bytes[position + 1];
    if (bytes[position] != fill || marker == fill || stands_alone(marker)) {
      position += bytes[position] == fill && marker != fill ? 2 : 1;
      continue;
    }
    if (marker == end_of_image) return "";
    if (position + 4 > bytes.size()) break;
    position += 2 + big_endian(bytes, position + 2, 2);
    if (marker != start_of_scan) continue;
    while (position + 1 < bytes.size() && (bytes[position] != fill || stands_alone(bytes[position + 1]))) ++position;
  }
  return "a truncated file";
}

std::string bmp_fault(Bytes bytes, std::int64_t height, std::int64_t width) {
  constexpr std::size_t header = 30;
  if (bytes.size() < header) return "a truncated file";
  const bool old_header = little_endian(bytes, 14, 4) == 12;
  const std::int64_t bits = little_endian(bytes, old_header ? 24 : 28, 2);
  const std::int64_t end = little_endian(bytes, 10, 4) + height * ((width * bits + 31) / 32 * 4);
  return end > static_cast<std::int64_t>(bytes.size()) ? "a truncated file" : "";
}

/// The most bytes that a PNG file of `size` bytes may unpack to. A few bytes compress to gigabytes, whatever the header
/// says. The decoder doubles a block that is too small: the rows of an interlaced picture, which are more than those of
/// others, and the file's chunks, joined. Some files hold a little more than their pixels.
std::size_t most_unpacked_bytes(Bytes bytes, std::int64_t pixels, std::int64_t height, std::int64_t stored_channels) {
  constexpr std::int64_t slack = 1 << 16;
  const std::int64_t sample = stbi_is_16_bit_from_memory(bytes.data(), static_cast<int>(bytes.size())) ? 2 : 1;
  const std::int64_t rows = pixels * stored_channels * sample + height;  // each begins with the number of its filter
  return static_cast<std::size_t>(2 * (rows + static_cast<std::int64_t>(bytes.size())) + slack);
}

/// What the pixels along one side of the result are made of.
struct Axis {
  struct Target {
    std::int64_t first = 0;       ///< of the source's pixels that count
    std::vector<double> weights;  ///< of these, sum 1
  };
  std::vector<Target> targets;

  Axis(std::int64_t from, std::int64_t to) {
    const double scale = static_cast<double>(from) / static_cast<double>(to), reach = std::max(1.0, scale);
    for (std::int64_t i = 0; i < to; ++i) {
      const double center = (static_cast<double>(i) + 0.5) * scale;
      const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>(std::floor(center - reach)));
      const auto last = std::min(from, static_cast<std::int64_t>(std::ceil(center + reach)));
      Target target{first, {}};
      target.weights.reserve(static_cast<std::size_t>(last - first));
      double sum = 0;
      for (std::int64_t j = first; j < last; ++j) {
        target.weights.push_back(std::max(0.0, 1 - std::abs(static_cast<double>(j) + 0.5 - center) / reach));
        sum += target.weights.back();
      }
      for (double& weight : target.weights) weight /= sum;
      targets.push_back(std::move(target));
    }
  }
};

}  // namespace

Picture read_picture(const std::string& path) {
  const InputFile file(where, path);
  expect(file.size() > 0, where, path, ": expected a PNG, JPEG or BMP picture, got an empty file");
  expect(file.size() <= longest_file, where, path, ": expected a picture of at most ", longest_file, " bytes, got ",
         file.size());
  std::vector<std::uint8_t> content(file.size());
  file.read(0, std::as_writable_bytes(std::span(content)));
  const Bytes bytes = content;

  const bool png = begins_with(bytes, "\x89PNG\r\n\x1a\n"), jpeg = begins_with(bytes, "\xFF\xD8");
  expect(png || jpeg || begins_with(bytes, "BM"), where, path, ": expected a PNG, JPEG or BMP picture, got another file");
  const int size = static_cast<int>(bytes.size());
  int width = 0, height = 0, stored_channels = 0;
  if (stbi_info_from_memory(bytes.data(), size, &width, &height, &stored_channels) == 0 || width < 1 || height < 1)
    fail(where, path, ": expected a picture of at most ", most_picture_pixels,
         " pixels, got a header that is damaged or asks for more");
  const std::int64_t pixels = std::int64_t{width} * height;
  expect(pixels <= most_picture_pixels, where, path, ": expected a picture of at most ", most_picture_pixels,
         " pixels, got ", width, " x ", height, ": scale it down");
  const std::string fault = png ? png_fault(bytes) : jpeg ? jpeg_fault(bytes) : bmp_fault(bytes, height, width);
  expect(fault.empty(), where, path, ": expected a whole picture, got ", fault);
  const GrowthLimit limit(most_unpacked_bytes(bytes, pixels, height, stored_channels));
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> decoded(
      stbi_load_from_memory(bytes.data(), size, &width, &height, &stored_channels, static_cast<int>(channels)),
      &stbi_image_free);
  expect(!limit.reached(), where, path, ": expected the pixels of ", width, " x ", height,
         ", got a file that unpacks to more");
  expect(decoded != nullptr && std::int64_t{width} * height == pixels, where, path,
         ": expected a picture that can be decoded, got: ", decoded ? "another size" : stbi_failure_reason());
  return {height, width, {decoded.get(), decoded.get() + pixels * channels}};
}

std::string encode_png(const Picture& picture) {
  expect(picture.height > 0 && picture.width > 0 && picture.height * picture.width <= most_picture_pixels &&
             picture.pixels.size() == static_cast<std::size_t>(picture.height * picture.width * channels),
         where, "expected a picture of ", picture.height, " x ", picture.width, " pixels, got ", picture.pixels.size(),
         " bytes");
  std::string content;
  const auto append = [](void* target, void* data, int size) {
    static_cast<std::string*>(target)->append(static_cast<const char*>(data), static_cast<std::size_t>(size));
  };
  const int width = static_cast<int>(picture.width), height = static_cast<int>(picture.height);
  expect(stbi_write_png_to_func(append, &content, width, height, static_cast<int>(channels), picture.pixels.data(),
                                width * static_cast<int>(channels)) != 0,
         where, "expected memory to encode a picture of ", height, " x ", width, " pixels, got none");
  return content;
}

std::vector<std::uint8_t> resize_to_planes(const Picture& picture, std::int64_t extent) {
  const Axis rows(picture.height, extent), columns(picture.width, extent);
  // A row of the picture at a time is narrowed, [extent, 3], and added to those rows of the result that it is part of:
  // a picture may be a million rows high.
  std::vector<double> narrow(static_cast<std::size_t>(extent * channels));
  std::vector<double> sums(static_cast<std::size_t>(extent * extent * channels));
  for (std::int64_t y = 0; y < picture.height; ++y) {
    std::fill(narrow.begin(), narrow.end(), 0.0);
    for (std::int64_t x = 0; x < extent; ++x) {
      const Axis::Target& target = columns.targets[static_cast<std::size_t>(x)];
      const std::uint8_t* source = picture.pixels.data() + (y * picture.width + target.first) * channels;
      double* pixel = narrow.data() + x * channels;
      for (const double weight : target.weights)
        for (std::int64_t c = 0; c < channels; ++c) pixel[c] += weight * *source++;
    }
    for (std::int64_t row = 0; row < extent; ++row) {
      const Axis::Target& target = rows.targets[static_cast<std::size_t>(row)];
      const std::int64_t j = y - target.first;
      if (j < 0 || j >= static_cast<std::int64_t>(target.weights.size())) continue;
      const double weight = target.weights[static_cast<std::size_t>(j)];
      double* sum = sums.data() + row * extent * channels;
      for (const double value : narrow) *sum++ += weight * value;
    }
  }
  std::vector<std::uint8_t> planes(sums.size());
  for (std::int64_t i = 0; i < extent * extent; ++i)
    for (std::int64_t c = 0; c < channels; ++c)
      planes[static_cast<std::size_t>(c * extent * extent + i)] = static_cast<std::uint8_t>(
          std::clamp(std::lround(sums[static_cast<std::size_t>(i * channels + c)]), 0L, 255L));
  return planes;
}

}  // namespace omniconv
