// SGD over flat arenas, one launch for all parameters.
#pragma once

#include <cstdint>

#include "kernels/simt/stream.h"

namespace omniconv::kernels {

struct SgdSettings {
  double momentum = 0.9;
  double weight_decay = 5e-4;
  bool nesterov = false;
};

/// What the parameters of a group have of their own.
struct SgdGroup {
  double weight_decay = 0;
  std::int32_t trained = 1;  ///< 0: the weights stay as they are, and their velocity is zero
};

/// What a step reads from device memory, where it may change from step to step; nullptr: nothing of it.
struct SgdInputs {
  const double* learning_rate;             ///< one double
  const double* gradient_scale = nullptr;  ///< one double that gradients are multiplied by
  const std::int32_t* skip = nullptr;      ///< unless it is 0, this step changes nothing
  const std::int32_t* halted = nullptr;    ///< unless it is 0, nothing changes any more: see halt_unless_finite
  const std::uint8_t* group_of = nullptr;  ///< [count], the group of each element
  const SgdGroup* groups = nullptr;        ///< with group_of
};

/// As PyTorch's torch.optim.SGD with dampening 0:
///   g = gradient + weight_decay · weight;  v = momentum · v + g;  weight -= lr · (nesterov ? g + momentum · v : v)
/// The velocity starts at zero, which equals PyTorch's first step (v = g).
template <class T>
void sgd_step(T* weight, const T* gradient, T* velocity, std::int64_t count, const SgdInputs& inputs,
              const SgdSettings& settings, Stream stream);

/// *halted = 1 unless *loss is finite; it is never set back. Both on the device.
template <class T>
void halt_unless_finite(const T* loss, std::int32_t* halted, Stream stream);

/// Number of doubles of workspace that clip_scale needs for `count` gradients.
std::int64_t clip_workspace(std::int64_t count);

/// *scale = min(1, max_norm / (norm + 1e-6)) with the Euclidean norm of the gradients that are trained, as PyTorch's
/// clip_grad_norm_; the scale is one double on the device. Sums are doubles, cut by `count` alone.
template <class T>
void clip_scale(const T* gradient, std::int64_t count, const std::uint8_t* group_of, const SgdGroup* groups,
                double max_norm, double* scale, double* workspace, Stream stream);

}  // namespace omniconv::kernels
