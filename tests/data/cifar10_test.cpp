// The CIFAR-10 binary layout: reading, writing, and what is wrong with files that are not it.
#include "data/cifar10.h"

#include <filesystem>
#include <string>

#include "kernels/error.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

constexpr std::size_t record_bytes = 3073;
const std::vector<std::string> batch_files = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                              "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};

/// A record whose pixels count up from `label`.
std::string record(int label) {
  std::string bytes(1, static_cast<char>(label));
  for (std::size_t i = 1; i < record_bytes; ++i) bytes += static_cast<char>(label + static_cast<int>(i) % 251);
  return bytes;
}

/// A data set with one to six records per file, labels counting up over all files.
void write_example(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  int next = 0;
  for (std::size_t i = 0; i < batch_files.size(); ++i) {
    std::string content;
    for (std::size_t j = 0; j <= i; ++j) content += record(next++ % 10);
    write_text(folder / batch_files[i], content);
  }
}

std::string read_error(const std::filesystem::path& path) {
  return message_of<Error>([&] { read_cifar10(path.string()); });
}

ImageData small_data(std::size_t train_count = 7) {
  ImageData data;
  data.class_names = {"circle", "square or so"};
  for (auto* set : {&data.train, &data.test}) {
    const std::size_t count = set == &data.train ? train_count : 2;
    for (std::size_t i = 0; i < count; ++i) set->labels.push_back(static_cast<std::uint8_t>(i % 2));
    for (std::size_t i = 0; i < count * 3072; ++i) set->images.push_back(static_cast<std::uint8_t>(i * 7 % 253));
  }
  return data;
}

TEST_CASE("a data set is found in the folder and in its parent") {
  const TemporaryFolder folder;
  write_example(folder.path() / "cifar-10-batches-bin");
  const ImageData data = read_cifar10((folder.path() / "cifar-10-batches-bin").string());
  CHECK(read_cifar10(folder.path().string()) == data);
  REQUIRE(data.train.count() == 15);
  REQUIRE(data.test.count() == 6);
  REQUIRE(data.train.images.size() == 15 * 3072);
  for (int i = 0; i < 15; ++i) CHECK(data.train.labels[static_cast<std::size_t>(i)] == i % 10);
  CHECK(data.test.labels == std::vector<std::uint8_t>{5, 6, 7, 8, 9, 0});
  // Record 14 is the last of data_batch_5: bytes behind its label come through unchanged, in order.
  const std::string last = record(4);
  CHECK(std::equal(last.begin() + 1, last.end(), data.train.images.begin() + 14 * 3072,
                   [](char byte, std::uint8_t value) { return static_cast<std::uint8_t>(byte) == value; }));
  CHECK(data.class_names.size() == 10);
  CHECK(data.class_names.front() == "airplane");
  CHECK(data.class_names.back() == "truck");
}

TEST_CASE("class names come from batches.meta.txt, blank lines and line ends aside") {
  const TemporaryFolder folder;
  write_example(folder.path());
  std::string names;
  for (int i = 0; i < 10; ++i) names += concat(" class ", i, i % 2 == 0 ? "\r\n\n" : "  \n \t\n");
  write_text(folder.file("batches.meta.txt"), names + "last");
  const ImageData data = read_cifar10(folder.path().string());
  REQUIRE(data.class_names.size() == 11);
  CHECK(data.class_names[3] == "class 3");
  CHECK(data.class_names[4] == "class 4");
  CHECK(data.class_names[10] == "last");

  write_text(folder.file("batches.meta.txt"), "\n \n");
  CHECK_THAT(read_error(folder.path()),
             ContainsSubstring("batches.meta.txt: expected 1 to 256 class names, one a line, got 0"));
  write_text(folder.file("batches.meta.txt"), std::string(2 << 20, 'x'));
  CHECK_THAT(read_error(folder.path()), ContainsSubstring("expected class names, one a line, got 2097152 bytes"));
}

TEST_CASE("class names in another encoding are refused before a checkpoint has to hold them") {
  const TemporaryFolder folder;
  write_example(folder.path());
  write_text(folder.file("batches.meta.txt"), "g\xC3\xA4nse\n\nl\xF6we\n");
  CHECK_THAT(read_error(folder.path()),
             ContainsSubstring("batches.meta.txt: expected class names in UTF-8, got \"l\xF6we\" in line 3"));
  ImageData data = small_data();
  data.class_names[1] = "l\xF6we";
  CHECK_THAT(message_of<Error>([&] { write_cifar10(folder.file("new"), data); }),
             ContainsSubstring("expected class names in UTF-8, got \"l\xF6we\""));
  CHECK_FALSE(std::filesystem::exists(folder.file("new")));
}

TEST_CASE("a label that the class list does not have is named with record and byte") {
  const TemporaryFolder folder;
  write_example(folder.path());
  write_text(folder.file("data_batch_2.bin"), record(1) + record(9) + record(10));
  CHECK_THAT(read_error(folder.path()),
             ContainsSubstring("[cifar10] " + folder.file("data_batch_2.bin") +
                               ": expected labels below 10, got 10 in record 2 at byte 6146"));
  write_example(folder.path());
  write_text(folder.file("batches.meta.txt"), "a\nb\nc\n");
  CHECK_THAT(read_error(folder.path()),
             ContainsSubstring("data_batch_3.bin: expected labels below 3, got 3 in record 0 at byte 0"));
}

TEST_CASE("a file that is missing, empty, cut or no file is named with its fault") {
  const TemporaryFolder folder;
  for (const std::string& name : batch_files) {
    write_example(folder.path());
    const std::string path = folder.file(name);
    write_text(path, "");
    CHECK_THAT(read_error(folder.path()),
               ContainsSubstring("[cifar10] " + path + ": expected records of 3073 bytes, got an empty file"));
    write_text(path, record(1) + record(2).substr(0, 100));
    CHECK_THAT(
        read_error(folder.path()),
        ContainsSubstring(path + ": expected whole records of 3073 bytes, got 100 bytes for record 1 at byte 3073"));
    std::filesystem::remove(path);
    CHECK_THAT(read_error(folder.path()),
               ContainsSubstring(path + ": expected a readable file, got: No such file or directory"));
    std::filesystem::create_directory(path);
    CHECK_THAT(read_error(folder.path()), ContainsSubstring(path + ": expected a regular file, got a folder"));
    std::filesystem::remove(path);
    std::filesystem::create_symlink(name, path);
    CHECK_THAT(read_error(folder.path()), ContainsSubstring(path + ": expected a readable file, got: "));
    std::filesystem::remove(path);
  }
}

TEST_CASE("a folder that is missing or no folder is named") {
  const TemporaryFolder folder;
  CHECK_THAT(read_error(folder.path() / "absent"),
             ContainsSubstring("absent: expected a folder with data_batch_1.bin"));
  CHECK_THAT(read_error(folder.path()), ContainsSubstring("data_batch_1.bin: expected a readable file"));
  write_text(folder.file("file"), "x");
  CHECK_THAT(read_error(folder.path() / "file"), ContainsSubstring("Not a directory"));
}

TEST_CASE("a data set that was written reads back, and the same one may be written again") {
  const TemporaryFolder folder;
  const std::string path = folder.file("new/data");
  write_cifar10(path, small_data());
  CHECK(read_cifar10(path) == small_data());
  for (int i = 0; i < 5; ++i) {
    const auto records =
        std::filesystem::file_size(path + "/" + batch_files[static_cast<std::size_t>(i)]) / record_bytes;
    CHECK((records == 1 || records == 2));
  }
  write_cifar10(path, small_data(20));
  CHECK(read_cifar10(path) == small_data(20));
  CHECK(std::distance(std::filesystem::directory_iterator(path), {}) == 7);
}

TEST_CASE("a data set of other classes is never overwritten") {
  const TemporaryFolder folder;
  write_example(folder.path());
  const std::string before = read_text(folder.file("data_batch_1.bin"));
  CHECK_THAT(message_of<Error>([&] { write_cifar10(folder.path().string(), small_data()); }),
             ContainsSubstring("expected an empty folder, got a data set of other classes"));
  CHECK(read_text(folder.file("data_batch_1.bin")) == before);
  CHECK(folder.names() == batch_files);
}

TEST_CASE("what could not be read back is not written") {
  const TemporaryFolder folder;
  const std::string path = folder.file("data");
  const auto error = [&](const ImageData& data) { return message_of<Error>([&] { write_cifar10(path, data); }); };
  CHECK_THAT(error(small_data(4)), ContainsSubstring("expected at least 5 training images, got 4"));
  ImageData data = small_data();
  data.test = {};
  CHECK_THAT(error(data), ContainsSubstring("expected at least 1 test images, got 0"));
  data = small_data();
  data.train.labels[3] = 2;
  CHECK_THAT(error(data), ContainsSubstring("expected training labels below 2, got 2"));
  data = small_data();
  data.test.images.pop_back();
  CHECK_THAT(error(data), ContainsSubstring("expected 2 test images of 3072 bytes, got 6143 bytes"));
  for (const std::string name : {"", " a", "a ", "a\nb", "a\r"}) {
    data = small_data();
    data.class_names[1] = name;
    CHECK_THAT(error(data), ContainsSubstring("expected class names on one line"));
  }
  data.class_names.clear();
  CHECK_THAT(error(data), ContainsSubstring("expected 1 to 256 class names, got 0"));
  CHECK(folder.names().empty());

  write_text(path, "a file in the way");
  CHECK_THAT(error(small_data()), ContainsSubstring("expected a folder to write to"));
}

}  // namespace
}  // namespace omniconv::test
