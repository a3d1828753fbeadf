// A data set that lives on the device: uploaded once, batches are gathered there.
#pragma once

#include <cstdint>
#include <string>

#include "data/images.h"
#include "engine/tensor.h"
#include "kernels/augment.h"

namespace omniconv {

/// Training or test images of one batch, normalised, with their classes.
struct Batch {
  Tensor images;                             ///< [N, H, W, 3], of any floating type
  Tensor labels;                             ///< i32 [N]
  Tensor other_labels = {}, own_share = {};  ///< i32 [N] and f64 [1] where images are mixed, see ops::LossOptions

  std::int64_t size() const { return labels.count(); }
};

class Dataset {
 public:
  explicit Dataset(const ImageSet& set);

  std::int64_t count() const { return labels_.count(); }
  std::int64_t extent() const { return images_.size(2); }  ///< height and width of the images

  /// The images at `indices` (i32 [N]) in the floating type `dtype`, varied, and mixed if `mix` (one kernels::Mix, as
  /// f64 [5]) is given.
  Batch gather(const Tensor& indices, DType dtype, const kernels::Variation& variation = {},
               const Tensor& mix = {}) const;

 private:
  Tensor images_;  // u8 [count, 3, H, W]
  Tensor labels_;  // u8 [count]
};

/// The data set that `data` names: "synthetic", or a folder of CIFAR-10 binary files. @throws Error naming the file.
ImageData load_data(const std::string& data);

/// A number that tells data sets apart: of equal content, equal.
std::string fingerprint(const ImageData& data);

}  // namespace omniconv
