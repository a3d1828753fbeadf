// Pictures of one's own: train/<class>/* and test/<class>/*, a folder per class.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/images.h"

namespace omniconv {

/// A file that is no usable picture.
struct LeftOut {
  std::string path;
  std::string reason;  ///< the error's text

  friend bool operator==(const LeftOut&, const LeftOut&) = default;
};

struct FolderImages {
  ImageData data;
  std::vector<LeftOut> left_out;
};

/// Reads the folder `path`: the classes are the folders in train, in the order of their names; each picture is resized
/// to 32x32. Training images come in an order drawn once and for all, so that any part of them holds all classes; test
/// images in the order of classes and file names. Names that begin with a dot count for nothing. `on_image` hears of
/// finished pictures. With `skip_bad`, files that are no pictures are left out.
/// @throws Error `[pack] PATH: expected ..., got ...` without train or test, for files where a class's folder should be,
/// fewer than 2 or more than 256 classes, names that a list of classes cannot hold, a test class that train does not
/// have, a class without training images, and, without `skip_bad`, for the first file that is no picture.
FolderImages read_image_folder(const std::string& path, bool skip_bad,
                               const std::function<void(std::int64_t)>& on_image = {});

}  // namespace omniconv
