// A short training that recovers what a conversion has lost.
#pragma once

#include <cstdint>
#include <functional>

#include "apps/training/dataset.h"
#include "models/resnet.h"

namespace omniconv {

struct FinetuneRecipe {
  std::int64_t epochs = 0;
  std::int64_t batch_size = 128;
  double lr = 0.01;  ///< falls to 0 along a cosine, epoch by epoch
  double momentum = 0.9;
  double weight_decay = 5e-4;
  std::uint64_t seed = 0;  ///< of the order of the images and of their augmentation
};

/// Trains `model` on `images`, augmented as in training. `on_epoch(epoch, loss)` hears of each finished epoch, from 1,
/// with the mean loss over its images. @throws Error naming the epoch if a loss is not finite.
void finetune(const Model& model, const Dataset& images, const FinetuneRecipe& recipe,
              const std::function<void(std::int64_t, double)>& on_epoch);

}  // namespace omniconv
