#include "apps/training/random_steps.h"

#include <algorithm>
#include <chrono>

#include "apps/training/trainer.h"
#include "data/draws.h"
#include "data/images.h"

namespace omniconv {
namespace {

ImageSet random_images(std::int64_t count, const ModelConfig& model) {
  ImageSet set;
  set.extent = model.image_size;
  Draws draws(0, DrawPurpose::synthetic_train, 0);
  set.images.resize(static_cast<std::size_t>(count * image_channels * set.extent * set.extent));
  for (std::uint8_t& pixel : set.images) pixel = static_cast<std::uint8_t>(draws.below(256));
  const std::int64_t classes = std::min<std::int64_t>(model.classes, 256);  // a label is a byte
  for (std::int64_t i = 0; i < count; ++i) set.labels.push_back(static_cast<std::uint8_t>(i % classes));
  return set;
}

}  // namespace

RandomSteps::RandomSteps(const Model& model, const Recipe& recipe, std::int64_t batch_size)
    : model_(model),
      precision_(recipe.precision),
      dataset_(random_images(batch_size, recipe.model)),
      order_(Tensor::from_host(epoch_order(batch_size, 0, 0, true))),
      sgd_(model.store, {recipe.momentum, recipe.weight_decay, recipe.nesterov}),
      epoch_(Tensor::empty({1}, DType::i64)) {
  sgd_.set_learning_rate(recipe.lr / 100);  // random labels teach nothing, and the numbers shall stay usual ones
  model.set_temperature(recipe.temperature.start);
}

void RandomSteps::run() {
  begin();
  graphs_.run(0, [this] { queue(); });
}

void RandomSteps::run_in_parts() {
  begin();
  // A short convolution would be timed with the gaps in which the device waits for the host.
  delay_device(std::chrono::milliseconds(20));
  graphs_.run_unrecorded([this] { queue(); });
}

void RandomSteps::begin() {
  model_.set_step(step_);
  epoch_.copy_from_host(&step_);
  ++step_;
}

void RandomSteps::queue() {
  const Batch batch = dataset_.gather(
      order_, precision_, {.crop = true, .flip = kernels::Flip::random, .epoch = epoch_.data<std::int64_t>()});
  train_on_batch(model_, sgd_, batch, totals_.data());
}

}  // namespace omniconv
