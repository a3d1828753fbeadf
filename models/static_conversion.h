// Dynamic convolutions replaced by static ones that are right on average.
//
// Layer by layer, in the order of the network: an ODConv becomes the plain convolution with the joint mean of its
// attended kernels over calibration images (ODConv2d::mean_weight), the batch norm behind it takes the statistics of
// what that convolution yields, and the next layer is calibrated on the result.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/resnet.h"

namespace omniconv {

/// What became of one ODConv.
struct ConvertedLayer {
  std::string name;           ///< "layer1.0.conv1"
  double relative_error = 0;  ///< ‖static − dynamic‖ / ‖dynamic‖ over the calibration images, in front of the norm
};

struct StaticConversion {
  std::unique_ptr<Model> model;  ///< the static twin
  std::vector<ConvertedLayer> layers;
};

/// The static twin of `model`, calibrated on `images` [N, H, W, 3] (normalised, of the model's type). All N images are
/// in memory at once, with up to five activations of the widest layer.
/// @throws Error for a model that is static or folded, fewer than 2 images, or images of another shape.
StaticConversion convert_to_static(const Model& model, const Tensor& images);

}  // namespace omniconv
