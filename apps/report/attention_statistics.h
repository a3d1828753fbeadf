// What the attentions of a network do on real images: by layer and class, and where they have collapsed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "apps/training/dataset.h"
#include "models/resnet.h"

namespace omniconv {

/// One attention of one layer over the images, by class.
struct AttentionMap {
  std::string attention;          ///< channel, filter, spatial, kernel
  std::int64_t width = 0;         ///< entries: I, O, R·S, K
  std::vector<double> mean;       ///< [classes, width], 0 for a class without images
  std::vector<double> standard_deviation;  ///< [classes, width], over the images of the class
  std::vector<double> mean_all;       ///< [width], over all images
  std::vector<double> standard_deviation_all;  ///< [width]
  double saturated = 0;  ///< fraction of values below 0.01 or above 0.99, of images and entries
  double entropy = 0;    ///< of a kernel attention: mean over the images of −Σ p ln p / ln K, in [0, 1]

  friend bool operator==(const AttentionMap&, const AttentionMap&) = default;
};

/// Something that is wrong with a layer's attention, in words.
struct Finding {
  std::string attention;
  std::string kind;  ///< uniform, single, saturated, constant, duplicates
  std::string text;

  friend bool operator==(const Finding&, const Finding&) = default;
};

struct LayerAttention {
  std::string name;                ///< "layer1.0.conv1"
  std::vector<AttentionMap> maps;  ///< of the attentions that the layer has
  std::vector<double> kernel_cosines;  ///< [K, K], cosine of each two kernels of the weight; empty for K = 1
  std::vector<Finding> findings;

  friend bool operator==(const LayerAttention&, const LayerAttention&) = default;
};

struct AttentionStatistics {
  std::vector<std::string> class_names;   ///< [classes]
  std::vector<std::int64_t> class_counts;  ///< [classes], images
  std::vector<LayerAttention> layers;      ///< in the order of the network

  friend bool operator==(const AttentionStatistics&, const AttentionStatistics&) = default;
};

/// Runs `model`, as it is, temperature included, over the first `most_images` of `dataset`, all there are at most, in
/// batches and looks at the attentions of every ODConv. `class_names` has a name for each label; `on_batch` hears of
/// finished images.
/// @throws Error for a model without dynamic convolutions, no images, or attentions that are not finite.
AttentionStatistics attention_statistics(const Model& model, const Dataset& dataset, std::int64_t most_images,
                                         const std::vector<std::string>& class_names,
                                         const std::function<void(std::int64_t)>& on_batch = {});

/// What is wrong with a layer, from its maps and kernel_cosines:
///   uniform     kernel: entropy above 0.99, so that K kernels act as their mean
///   single      kernel: one has more than 0.95 on average, so that the others go unused
///   saturated   entropy below 0.05, or more than half of the values of a sigmoid below 0.01 or above 0.99
///   constant    no entry deviates by more than 0.001 over all images
///   duplicates  two kernels with a cosine above 0.99
std::vector<Finding> find_collapse(const LayerAttention& layer);

}  // namespace omniconv
