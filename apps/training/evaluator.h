// Loss and accuracy over a data set, with running statistics.
#pragma once

#include <cstdint>
#include <functional>

#include "apps/training/dataset.h"
#include "models/resnet.h"

namespace omniconv {

/// Images in a batch of an evaluation, unless asked otherwise.
inline constexpr std::int64_t evaluation_batch_size = 100;

struct Evaluation {
  double loss = 0;      ///< mean over the images
  double accuracy = 0;  ///< fraction of 1
  std::int64_t images = 0;
};

/// Evaluates `model` as it is, temperature included, on the images in the order of their file.
/// `logits` [count, classes] of the store's dtype() is filled if it is defined; `on_batch` hears of finished images.
Evaluation evaluate(const Model& model, const Dataset& dataset, std::int64_t batch_size = evaluation_batch_size,
                    const Tensor& logits = {}, const std::function<void(std::int64_t)>& on_batch = {});

}  // namespace omniconv
