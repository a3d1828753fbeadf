#include "data/image_folder.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "data/batches.h"
#include "data/cifar10.h"
#include "data/picture.h"
#include "engine/files.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view where = "pack";

/// Everything in `folder` but what is hidden, sorted by name.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (!entry->path().filename().string().starts_with('.')) entries.push_back(entry->path());
  expect(!error, where, folder.string(), ": expected a folder, got: ", error.message());
  std::sort(entries.begin(), entries.end());
  return entries;
}

std::vector<std::string> class_folders(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::path& entry : entries_of(folder)) {
    std::error_code error;
    expect(fs::is_directory(entry, error), where, entry.string(), ": expected a folder per class in ", folder.string(),
           ", got a file");
    names.push_back(entry.filename().string());
  }
  return names;
}

class Reader {
 public:
  Reader(bool skip_bad, const std::function<void(std::int64_t)>& on_image) : skip_bad_(skip_bad), on_image_(on_image) {}

  /// Appends the pictures of one class to `set`.
  void read(const fs::path& folder, std::size_t label, ImageSet& set) {
    for (const fs::path& entry : entries_of(folder)) {
      try {
        const std::vector<std::uint8_t> planes = resize_to_planes(read_picture(entry.string()), image_extent);
        set.images.insert(set.images.end(), planes.begin(), planes.end());
        set.labels.push_back(static_cast<std::uint8_t>(label));
      } catch (const Error& error) {
        if (!skip_bad_) throw;
        left_out.push_back({entry.string(), error.what()});
      }
      if (on_image_) on_image_(++read_);
    }
  }

  std::vector<LeftOut> left_out;

 private:
  bool skip_bad_;
  const std::function<void(std::int64_t)>& on_image_;
  std::int64_t read_ = 0;
};

ImageSet shuffled(const ImageSet& set) {
  ImageSet result;
  for (const std::int32_t index : epoch_order(set.count(), 0, 0, true)) {
    const auto first = set.images.begin() + index * image_bytes;
    result.images.insert(result.images.end(), first, first + image_bytes);
    result.labels.push_back(set.labels[static_cast<std::size_t>(index)]);
  }
  return result;
}

}  // namespace

FolderImages read_image_folder(const std::string& path, bool skip_bad,
                               const std::function<void(std::int64_t)>& on_image) {
  const fs::path train = fs::path(path) / "train", test = fs::path(path) / "test";
  for (const fs::path& folder : {train, test}) {
    std::error_code error;
    expect(fs::is_directory(folder, error), where, path, ": expected folders train and test with a folder per class, ",
           "got no folder ", folder.filename().string());
  }
  FolderImages result;
  ImageData& data = result.data;
  data.class_names = class_folders(train);
  expect(data.class_names.size() >= 2, where, train.string(), ": expected folders of at least 2 classes, got ",
         data.class_names.size());
  check_class_names(data.class_names);
  const std::vector<std::string> test_classes = class_folders(test);
  for (const std::string& name : test_classes)
    expect(std::binary_search(data.class_names.begin(), data.class_names.end(), name), where, test.string(),
           ": expected the classes of ", train.string(), ", got ", in_quotes(name));

  Reader reader(skip_bad, on_image);
  for (std::size_t label = 0; label < data.class_names.size(); ++label) {
    const std::string& name = data.class_names[label];
    const std::int64_t before = data.train.count();
    reader.read(train / name, label, data.train);
    expect(data.train.count() > before, where, (train / name).string(),
           ": expected pictures of the class, got a folder without one");
    if (std::binary_search(test_classes.begin(), test_classes.end(), name)) reader.read(test / name, label, data.test);
  }
  data.train = shuffled(data.train);
  result.left_out = std::move(reader.left_out);
  return result;
}

}  // namespace omniconv
