// Dynamic loss scaling for gradients of f16 activations, decided on the device.
//
// The loss is multiplied by a scale before its gradients are computed, so that small ones do not vanish in f16. A step
// whose gradients overflow is skipped and lowers the scale; a row of good ones raises it. Micikevicius et al., "Mixed
// Precision Training", 2018; the rule is that of PyTorch's GradScaler.
#pragma once

#include <cstdint>

#include "kernels/simt/stream.h"

namespace omniconv::kernels {

struct LossScaleSettings {
  double initial = 65536;
  double growth = 2;
  double backoff = 0.5;
  std::int64_t growth_interval = 2000;  ///< good steps in a row after which the scale grows
};

/// What the next step depends on, in device memory.
struct LossScaleState {
  std::int64_t good_steps = 0;     ///< since the scale last changed
  std::int64_t skipped_steps = 0;  ///< of the whole run
};

/// Number of i32 elements of workspace that unscale_gradients needs for `count` gradients.
std::int64_t unscale_workspace(std::int64_t count);

/// gradients[i] /= *scale, in place, and then for the next step:
///   if a gradient is infinite or NaN:  *skip = 1, scale *= backoff, good_steps = 0, ++skipped_steps
///   else:                              *skip = 0, and scale *= growth, good_steps = 0 where ++good_steps reaches the
///                                      interval; a scale that would no longer be finite stays
/// scale f32 [1], skip i32 [1] and state lie in device memory.
void unscale_gradients(float* gradients, std::int64_t count, const LossScaleSettings& settings, float* scale,
                       LossScaleState* state, std::int32_t* skip, std::int32_t* workspace, Stream stream);

}  // namespace omniconv::kernels
