#include "data/cifar10.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "engine/files.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view where = "cifar10";
constexpr std::int64_t record_bytes = 1 + image_bytes;
constexpr std::array<const char*, 5> train_files = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                                    "data_batch_4.bin", "data_batch_5.bin"};
constexpr const char* test_file = "test_batch.bin";
constexpr const char* names_file = "batches.meta.txt";
constexpr const char* usual_folder = "cifar-10-batches-bin";
constexpr std::size_t most_classes = 256;  // a label is one byte
constexpr std::uint64_t longest_names_file = 1 << 20;

bool present(const fs::path& path) {
  std::error_code error;  // what cannot be looked at is reported when it is opened
  return fs::exists(path, error);
}

fs::path folder_of(const fs::path& path) {
  const fs::path below = path / usual_folder;
  if (!present(path / train_files[0]) && present(below)) return below;
  expect(present(path), where, path.string(), ": expected a folder with ", train_files[0], " to ", test_file,
         ", got no such folder");
  return path;
}

std::vector<std::string> names_in(const fs::path& folder) {
  const fs::path path = folder / names_file;
  if (!present(path)) {
    return {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
  }
  const InputFile file(where, path.string());
  expect(file.size() <= longest_names_file, where, path.string(), ": expected class names, one a line, got ",
         file.size(), " bytes");
  std::string text(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));

  std::vector<std::string> names;
  constexpr std::string_view blank = " \t\r";
  std::size_t number = 1;
  for (std::size_t begin = 0; begin < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    expect(is_utf8(line), where, path.string(), ": expected class names in UTF-8, got ", in_quotes(line), " in line ",
           number, ": save the file in that encoding");
    const std::size_t first = line.find_first_not_of(blank);
    if (first != std::string_view::npos)
      names.emplace_back(line.substr(first, line.find_last_not_of(blank) + 1 - first));
    begin = end + 1;
  }
  expect(!names.empty() && names.size() <= most_classes, where, path.string(), ": expected 1 to ", most_classes,
         " class names, one a line, got ", names.size());
  return names;
}

/// Appends the records of the file at `path` to `set`.
void read_records(const fs::path& path, std::size_t classes, ImageSet& set) {
  const InputFile file(where, path.string());
  expect(file.size() > 0, where, path.string(), ": expected records of ", record_bytes, " bytes, got an empty file");
  const auto records = static_cast<std::int64_t>(file.size()) / record_bytes;
  const auto rest = static_cast<std::int64_t>(file.size()) % record_bytes;
  expect(rest == 0, where, path.string(), ": expected whole records of ", record_bytes, " bytes, got ", rest,
         " bytes for record ", records, " at byte ", records * record_bytes, ": the file is truncated");
  std::vector<std::byte> content(file.size());
  file.read(0, content);

  set.images.reserve(set.images.size() + static_cast<std::size_t>(records * image_bytes));
  for (std::int64_t record = 0; record < records; ++record) {
    const auto* start = reinterpret_cast<const std::uint8_t*>(content.data() + record * record_bytes);
    expect(*start < classes, where, path.string(), ": expected labels below ", classes, ", got ", int{*start},
           " in record ", record, " at byte ", record * record_bytes);
    set.labels.push_back(*start);
    set.images.insert(set.images.end(), start + 1, start + record_bytes);
  }
}

void write_records(const fs::path& path, const ImageSet& set, std::int64_t begin, std::int64_t end) {
  std::string content;
  content.reserve(static_cast<std::size_t>((end - begin) * record_bytes));
  for (std::int64_t i = begin; i < end; ++i) {
    content += static_cast<char>(set.labels[static_cast<std::size_t>(i)]);
    const auto* image = reinterpret_cast<const char*>(set.images.data() + i * image_bytes);
    content.append(image, static_cast<std::size_t>(image_bytes));
  }
  write_file(where, path.string(), content);
}

void check_set(std::string_view name, const ImageSet& set, std::int64_t least, std::size_t classes) {
  expect(set.count() >= least, where, "expected at least ", least, ' ', name, " images, got ", set.count());
  expect(set.images.size() == set.labels.size() * static_cast<std::size_t>(image_bytes), where, "expected ",
         set.labels.size(), ' ', name, " images of ", image_bytes, " bytes, got ", set.images.size(), " bytes");
  for (const std::uint8_t label : set.labels) {
    expect(label < classes, where, "expected ", name, " labels below ", classes, ", got ", int{label});
  }
}

/// A folder of someone's photographs must not become a folder of drawn circles.
void refuse_to_replace_other_data(const fs::path& folder, const std::vector<std::string>& names) {
  bool occupied = present(folder / test_file);
  for (const char* file : train_files) occupied = occupied || present(folder / file);
  expect(!occupied || names_in(folder) == names, where, folder.string(),
         ": expected an empty folder, got a data set of other classes: choose another folder, or remove it first");
}

}  // namespace

ImageData read_cifar10(const std::string& path) {
  const fs::path folder = folder_of(path);
  ImageData data;
  data.class_names = names_in(folder);
  for (const char* file : train_files) read_records(folder / file, data.class_names.size(), data.train);
  read_records(folder / test_file, data.class_names.size(), data.test);
  return data;
}

std::vector<std::string> read_class_names(const std::string& path) {
  return names_in(folder_of(path));
}

void check_class_names(const std::vector<std::string>& names) {
  expect(!names.empty() && names.size() <= most_classes, where, "expected 1 to ", most_classes, " class names, got ",
         names.size());
  for (const std::string& name : names) {
    const bool readable = !name.empty() && name.find_first_of("\r\n") == std::string::npos && name.front() != ' ' &&
                          name.front() != '\t' && name.back() != ' ' && name.back() != '\t';
    expect(readable, where, "expected class names on one line without blanks around them, got ", in_quotes(name));
    expect(is_utf8(name), where, "expected class names in UTF-8, got ", in_quotes(name));
  }
}

void write_cifar10(const std::string& path, const ImageData& data) {
  check_class_names(data.class_names);
  std::string names;
  for (const std::string& name : data.class_names) names += name + '\n';
  check_set("training", data.train, static_cast<std::int64_t>(train_files.size()), data.class_names.size());
  check_set("test", data.test, 1, data.class_names.size());

  const fs::path folder = path;
  std::error_code error;
  fs::create_directories(folder, error);
  expect(!error, where, path, ": expected a folder to write to, got: ", error.message());
  refuse_to_replace_other_data(folder, data.class_names);

  // The names come first: with them, a set whose writing was interrupted is known as ours and can be replaced.
  write_file(where, (folder / names_file).string(), names);
  constexpr auto files = static_cast<std::int64_t>(train_files.size());
  for (std::int64_t i = 0; i < files; ++i) {
    write_records(folder / train_files[static_cast<std::size_t>(i)], data.train, data.train.count() * i / files,
                  data.train.count() * (i + 1) / files);
  }
  write_records(folder / test_file, data.test, 0, data.test.count());
}

}  // namespace omniconv
