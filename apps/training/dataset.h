// A data set that lives on the device: uploaded once, batches are gathered there.
#pragma once

#include <cstdint>
#include <string>

#include "data/images.h"
#include "engine/tensor.h"

namespace omniconv {

/// Training or test images of one batch, normalised, with their classes.
struct Batch {
  Tensor images;  ///< [N, H, W, 3], of any floating type
  Tensor labels;  ///< i32 [N]

  std::int64_t size() const { return labels.count(); }
};

/// Random crops and flips, drawn from seed, epoch and image alone.
struct Augmentation {
  bool enabled = false;
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;
};

class Dataset {
 public:
  explicit Dataset(const ImageSet& set);

  std::int64_t count() const { return labels_.count(); }

  /// The images at `indices` (i32 [N]) in the floating type `dtype`.
  Batch gather(const Tensor& indices, DType dtype, const Augmentation& augmentation = {}) const;

 private:
  Tensor images_;  // u8 [count, 3, H, W]
  Tensor labels_;  // u8 [count]
};

/// The data set that `data` names: "synthetic", or a folder of CIFAR-10 binary files. @throws Error naming the file.
ImageData load_data(const std::string& data);

/// A number that tells data sets apart: of equal content, equal.
std::string fingerprint(const ImageData& data);

}  // namespace omniconv
