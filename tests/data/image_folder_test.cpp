// Folders of pictures: what they become, and what is wrong with others.
#include "data/image_folder.h"

#include <algorithm>
#include <filesystem>

#include "data/picture.h"
#include "kernels/error.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

namespace fs = std::filesystem;

/// A picture of one colour.
std::string flat(std::uint8_t value, std::int64_t height = 4, std::int64_t width = 4) {
  return encode_png({height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height * width * 3), value)});
}

void add(const fs::path& path, const std::string& content) {
  fs::create_directories(path.parent_path());
  write_text(path, content);
}

/// Two classes; colours of 10, 11, ... and 100, 101, ... in train, 20 and 120 in test.
void write_example(const fs::path& folder) {
  for (std::uint8_t i = 0; i < 6; ++i) {
    add(folder / "train" / "dog" / concat("b", int{i}, ".png"), flat(static_cast<std::uint8_t>(100 + i), 40, 30));
    add(folder / "train" / "cat" / concat("a", int{i}, ".PNG"), flat(static_cast<std::uint8_t>(10 + i)));
  }
  add(folder / "test" / "cat" / "x.png", flat(20));
  add(folder / "test" / "dog" / "x.png", flat(120));
}

std::string pack_error(const fs::path& folder, bool skip_bad = false) {
  return message_of<Error>([&] { read_image_folder(folder.string(), skip_bad); });
}

TEST_CASE("folders of pictures become labelled images") {
  const TemporaryFolder folder;
  write_example(folder.path());
  add(folder.path() / "train" / ".DS_Store", "hidden");
  add(folder.path() / "train" / "cat" / ".thumbnails", "hidden");
  std::int64_t heard = 0;
  const FolderImages read = read_image_folder(folder.path().string(), false, [&](std::int64_t done) { heard = done; });
  CHECK(heard == 14);
  CHECK(read.left_out.empty());
  CHECK(read.data.class_names == std::vector<std::string>{"cat", "dog"});
  REQUIRE(read.data.train.count() == 12);
  std::vector<int> colours;
  for (std::size_t i = 0; i < 12; ++i) {
    colours.push_back(read.data.train.images[i * 3072]);
    CHECK(read.data.train.images[i * 3072 + 3071] == colours.back());
    CHECK(int{read.data.train.labels[i]} == (colours.back() >= 100 ? 1 : 0));
  }
  CHECK_FALSE(std::is_sorted(colours.begin(), colours.end()));  // any part of them should hold both classes
  std::sort(colours.begin(), colours.end());
  CHECK(colours == std::vector<int>{10, 11, 12, 13, 14, 15, 100, 101, 102, 103, 104, 105});
  CHECK(read.data.test.labels == std::vector<std::uint8_t>{0, 1});
  CHECK(read.data.test.images[0] == 20);
  CHECK(read_image_folder(folder.path().string(), false).data == read.data);
}

TEST_CASE("a bad picture stops the reading by name, or is left out and listed") {
  const TemporaryFolder folder;
  write_example(folder.path());
  const fs::path torn = folder.path() / "train" / "cat" / "torn.png", notes = folder.path() / "test" / "dog" / "a.txt";
  add(torn, flat(1).substr(0, 50));
  CHECK_THAT(pack_error(folder.path()), ContainsSubstring("torn.png: expected a whole picture, got a truncated file"));
  add(notes, "no picture");
  fs::create_directories(folder.path() / "train" / "dog" / "deeper");
  const FolderImages read = read_image_folder(folder.path().string(), true);
  CHECK(read.data.train.count() == 12);
  CHECK(read.data.test.count() == 2);
  REQUIRE(read.left_out.size() == 3);
  CHECK(read.left_out[0].path == torn.string());
  CHECK_THAT(read.left_out[0].reason, ContainsSubstring("a truncated file"));
  CHECK_THAT(read.left_out[1].path, ContainsSubstring("deeper"));
  CHECK(read.left_out[2].path == notes.string());
}

TEST_CASE("folders of another layout are refused by name") {
  const TemporaryFolder folder;
  CHECK_THAT(pack_error(folder.path() / "nowhere"), ContainsSubstring("got no folder train"));
  write_example(folder.path() / "good");
  const auto changed = [&](const std::string& name, const auto& change) {
    fs::copy(folder.path() / "good", folder.path() / name, fs::copy_options::recursive);
    change(folder.path() / name);
    return pack_error(folder.path() / name, true);
  };
  CHECK_THAT(changed("no test", [](const fs::path& f) { fs::remove_all(f / "test"); }),
             ContainsSubstring("got no folder test"));
  CHECK_THAT(changed("file", [](const fs::path& f) { add(f / "train" / "cat.png", flat(1)); }),
             ContainsSubstring("cat.png: expected a folder per class"));
  CHECK_THAT(changed("one", [](const fs::path& f) { fs::remove_all(f / "train" / "dog"); }),
             ContainsSubstring("at least 2 classes, got 1"));
  CHECK_THAT(changed("other", [](const fs::path& f) { add(f / "test" / "do\"g" / "x.png", flat(1)); }),
             ContainsSubstring("expected the classes of") && ContainsSubstring("got \"do\\\"g\""));
  CHECK_THAT(changed("empty", [](const fs::path& f) { fs::create_directories(f / "train" / "eel"); }),
             ContainsSubstring("eel: expected pictures of the class, got a folder without one"));
  CHECK_THAT(changed("lines", [](const fs::path& f) { add(f / "train" / "e\nel" / "x.png", flat(1)); }),
             ContainsSubstring("class names on one line") && ContainsSubstring("\"e\\x0ael\""));
}

}  // namespace
}  // namespace omniconv::test
