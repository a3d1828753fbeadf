// Pictures in files: what is read back, what is refused, and how they are resized.
#include "data/picture.h"

#include <stb/stb_image_write.h>
#include <sys/resource.h>

#include <string>

#include "kernels/error.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

Picture example(std::int64_t height, std::int64_t width) {
  Picture picture{height, width, {}};
  for (std::int64_t i = 0; i < height * width * 3; ++i) picture.pixels.push_back(static_cast<std::uint8_t>(i * 29 % 256));
  return picture;
}

void append(void* target, void* data, int size) {
  static_cast<std::string*>(target)->append(static_cast<const char*>(data), static_cast<std::size_t>(size));
}

std::string encode_jpeg(const Picture& picture) {
  std::string content;
  stbi_write_jpg_to_func(append, &content, static_cast<int>(picture.width), static_cast<int>(picture.height), 3,
                         picture.pixels.data(), 95);
  return content;
}

std::string encode_bmp(const Picture& picture) {
  std::string content;
  stbi_write_bmp_to_func(append, &content, static_cast<int>(picture.width), static_cast<int>(picture.height), 3,
                         picture.pixels.data());
  return content;
}

/// "no error", or what reading `content` as a file throws.
std::string read_error(const std::string& content) {
  const TemporaryFolder folder;
  write_text(folder.file("picture"), content);
  return message_of<Error>([&] { read_picture(folder.file("picture")); });
}

TEST_CASE("PNG and BMP come back exactly, JPEG nearly") {
  const TemporaryFolder folder;
  const Picture picture = example(7, 5);
  write_text(folder.file("a.png"), encode_png(picture));
  write_text(folder.file("a.bmp"), encode_bmp(picture));
  CHECK(read_picture(folder.file("a.png")) == picture);
  CHECK(read_picture(folder.file("a.bmp")) == picture);

  Picture smooth{40, 24, {}};
  for (int i = 0; i < 40 * 24 * 3; ++i) smooth.pixels.push_back(static_cast<std::uint8_t>(80 + i / (24 * 3)));
  write_text(folder.file("a.jpg"), encode_jpeg(smooth));
  const Picture decoded = read_picture(folder.file("a.jpg"));
  REQUIRE(decoded.height == 40);
  REQUIRE(decoded.width == 24);
  int worst = 0;
  for (std::size_t i = 0; i < smooth.pixels.size(); ++i)
    worst = std::max(worst, std::abs(int{decoded.pixels[i]} - int{smooth.pixels[i]}));
  CHECK(worst <= 3);
}

TEST_CASE("a picture that was cut off anywhere is refused") {
  const Picture picture = example(12, 10);
  for (const std::string& content : {encode_png(picture), encode_jpeg(picture), encode_bmp(picture)}) {
    REQUIRE(read_error(content) == "no error");
    CHECK(read_error(content + "behind the end") == "no error");
    std::vector<std::size_t> accepted;
    for (std::size_t length = 0; length < content.size(); length += 1 + content.size() / 64)
      if (read_error(content.substr(0, length)) == "no error") accepted.push_back(length);
    if (read_error(content.substr(0, content.size() - 1)) == "no error") accepted.push_back(content.size() - 1);
    CHECK(accepted.empty());
  }
}

TEST_CASE("any changed bit of a PNG's pixels is found") {
  const std::string content = encode_png(example(6, 6));
  const std::size_t pixels = content.find("IDAT") + 4, end = content.find("IEND") - 8;
  for (std::size_t position = pixels; position < end; position += 5) {
    std::string damaged = content;
    damaged[position] = static_cast<char>(damaged[position] ^ 4);
    CHECK_THAT(read_error(damaged), ContainsSubstring("a damaged chunk at byte 33"));
  }
}

/// The PNG file of `picture` with the header, checksum included, of one of `height` x `width` pixels.
std::string with_header_of(const Picture& picture, std::int64_t height, std::int64_t width) {
  constexpr std::size_t header = 8, length = 25;
  return encode_png(picture).replace(header, length, encode_png(example(height, width)), header, length);
}

TEST_CASE("a PNG that holds far more than its header's pixels is refused before it fills the memory") {
  const Picture black{4'000, 2'000, std::vector<std::uint8_t>(24'000'000)};
  const std::string bomb = with_header_of(black, 1, 1);
  REQUIRE(bomb.size() < 300'000);
  CHECK_THAT(read_error(bomb), StartsWith("[picture] ") &&
                                   ContainsSubstring("expected the pixels of 1 x 1, got a file that unpacks to more"));
  CHECK(read_error(encode_png(black)) == "no error");
  // Some programs write a few bytes too many.
  const TemporaryFolder folder;
  const Picture picture = example(41, 30);
  write_text(folder.file("picture"), with_header_of(picture, 40, 30));
  const Picture read = read_picture(folder.file("picture"));
  CHECK(read.height == 40);
  CHECK(read.pixels == std::vector<std::uint8_t>(picture.pixels.begin(), picture.pixels.end() - 30 * 3));
}

TEST_CASE("what is no picture, and one that is too large, are refused by name") {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& name) {
    return message_of<Error>([&] { read_picture(folder.file(name)); });
  };
  CHECK_THAT(error("missing.png"), StartsWith("[picture] ") && ContainsSubstring("missing.png: expected a readable file"));
  CHECK_THAT(message_of<Error>([&] { read_picture(folder.path().string()); }), ContainsSubstring("got a folder"));
  CHECK_THAT(read_error(""), ContainsSubstring("got an empty file"));
  CHECK_THAT(read_error("GIF89a and so on"), ContainsSubstring("expected a PNG, JPEG or BMP picture, got another file"));
  CHECK_THAT(read_error("\x89PNG\r\n\x1a\nwhatever this is"), ContainsSubstring("got a header that is damaged"));
  // Headers that ask for 15000 x 15000 pixels, and for more than the decoder counts.
  std::string huge = encode_png(example(2, 2));
  huge.replace(16, 8, std::string("\x00\x00\x3A\x98\x00\x00\x3A\x98", 8));
  CHECK_THAT(read_error(huge), ContainsSubstring("at most 100000000 pixels, got 15000 x 15000"));
  huge.replace(16, 8, std::string("\x00\xFF\x4E\x20\x00\xFF\x4E\x20", 8));
  CHECK_THAT(read_error(huge), ContainsSubstring("at most 100000000 pixels, got a header that is damaged or asks"));
  CHECK_THROWS_AS(encode_png({2, 2, {1, 2, 3}}), Error);
}

TEST_CASE("resizing keeps a picture of the right size, flat colours, and the mean of what shrinks") {
  const Picture same = example(8, 8);
  const std::vector<std::uint8_t> planes = resize_to_planes(same, 8);
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t i = 0; i < 64; ++i) REQUIRE(planes[c * 64 + i] == same.pixels[i * 3 + c]);

  const Picture flat{50, 3, std::vector<std::uint8_t>(450, 77)};
  CHECK(resize_to_planes(flat, 32) == std::vector<std::uint8_t>(3 * 32 * 32, 77));

  // A board of single pixels: every pixel counts, so what is left is its mean and not one of its colours.
  Picture board{64, 96, {}};
  for (int y = 0; y < 64; ++y)
    for (int x = 0; x < 96; ++x) board.pixels.insert(board.pixels.end(), 3, (x / 3 + y) % 2 ? 200 : 0);
  for (const std::uint8_t value : resize_to_planes(board, 8)) {
    REQUIRE(value > 80);
    REQUIRE(value < 120);
  }
}

TEST_CASE("resizing a picture of many rows takes no more memory than a few of them") {
  const auto peak = [] {
    struct rusage usage {};
    ::getrusage(RUSAGE_SELF, &usage);
    return std::int64_t{usage.ru_maxrss} * 1024;
  };
  const Picture tall{2'000'000, 1, std::vector<std::uint8_t>(6'000'000, 77)};
  const std::int64_t before = peak();
  CHECK(resize_to_planes(tall, 32) == std::vector<std::uint8_t>(3 * 32 * 32, 77));
  CHECK(peak() - before < 200'000'000);
}

TEST_CASE("enlarging interpolates linearly between the centers of pixels") {
  const Picture two{1, 2, {0, 0, 0, 100, 100, 100}};
  const std::vector<std::uint8_t> planes = resize_to_planes(two, 4);
  for (std::size_t row = 0; row < 12; ++row) {
    CHECK(planes[row * 4 + 0] == 0);
    CHECK(planes[row * 4 + 1] == 25);
    CHECK(planes[row * 4 + 2] == 75);
    CHECK(planes[row * 4 + 3] == 100);
  }
}

}  // namespace
}  // namespace omniconv::test
