// A data set, on the device or on the host, and its batches on the device.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/training/residence.h"
#include "data/images.h"
#include "engine/tensor.h"
#include "kernels/augment.h"
#include "models/resnet.h"

namespace omniconv {

/// Training or test images of one batch, normalised, with their classes.
struct Batch {
  Tensor images;                             ///< [N, H, W, 3], of any floating type
  Tensor labels;                             ///< i32 [N]
  Tensor other_labels = {}, own_share = {};  ///< i32 [N] and f64 [1] where images are mixed, see ops::LossOptions
};

class Dataset {
 public:
  /// Its images lie where `residence` says, else where residence_now() does; its labels on the device. @throws Error
  /// unless there are as many images as labels.
  explicit Dataset(ImageSet set, std::optional<Residence> residence = {});

  std::int64_t count() const { return labels_.count(); }
  std::int64_t extent() const { return extent_; }  ///< height and width of the images
  Residence residence() const { return residence_; }
  std::size_t bytes_per_image() const { return static_cast<std::size_t>(image_channels * extent_ * extent_); }

  /// The images at `indices` (i32 [N]) in the floating type `dtype`, varied, and mixed if `mix` (one kernels::Mix, as
  /// f64 [5]) is given. If they lie on the host, either `staged` (u8 [N, 3, H, W], see Feed) holds them, or they are
  /// brought now, which the device waits for and which cannot be recorded.
  Batch gather(const Tensor& indices, DType dtype, const kernels::Variation& variation = {}, const Tensor& mix = {},
               const Tensor& staged = {}) const;

  /// With Residence::host: the bytes of the images at `indices` to `target`, one behind the other. @throws Error for an
  /// image that there is not.
  void copy_images(std::span<const std::int32_t> indices, std::uint8_t* target) const;

 private:
  Tensor bring(const Tensor& indices) const;

  Residence residence_;
  std::int64_t extent_;
  std::vector<std::uint8_t> host_images_;  // [count, 3, H, W] with Residence::host, else empty
  Tensor images_;                          // u8 [count, 3, H, W] with Residence::device
  Tensor labels_;                          // u8 [count]
};

/// The data set that `data` names: "synthetic", or a folder of CIFAR-10 binary files. @throws Error naming the file.
ImageData load_data(const std::string& data);

/// @throws Error `[where] DATA: ...` unless `data`, whose classes have these names, has as many as the model.
void expect_classes(const ModelConfig& model, const std::vector<std::string>& class_names, std::string_view where,
                    const std::string& data);

/// A number that tells data sets apart: of equal content, equal.
std::string fingerprint(const ImageData& data);

}  // namespace omniconv
