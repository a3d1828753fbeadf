// A model prepared for inference: no tape, no gradients, everything that depends on the weights alone done once.
//
// Weights are packed for the convolutions, batch norms have become a scale and a shift on the way to memory, an
// attention is two products and one launch for all heads, and activations live in a few buffers that are reused.
#pragma once

#include <memory>

#include "models/resnet.h"

namespace omniconv {

/// The same function as the model's in evaluation, up to rounding, for f32 and f64. On the CPU the logits of an image do
/// not depend on what else is in its batch.
class InferenceNet {
 public:
  /// Copies what it needs of the weights but for the temperature, which it reads at each call: `model` must outlive it
  /// and its weights must not change. Images are `height` x `width` pixels.
  explicit InferenceNet(const Model& model, std::int64_t height = 32, std::int64_t width = 32);
  ~InferenceNet();

  /// images [N, H, W, 3] of the model's type -> logits [N, classes], which the next call overwrites.
  /// @throws Error for images of another shape or type.
  Tensor forward(const Tensor& images);

 private:
  class Plan;
  template <class T>
  class TypedPlan;
  std::unique_ptr<Plan> plan_;
};

}  // namespace omniconv
