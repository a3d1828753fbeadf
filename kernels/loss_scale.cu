#include "kernels/loss_scale.h"

#include <cmath>
#include <limits>

#include "kernels/simt/simt.h"

namespace omniconv::kernels {
namespace {

#if OMNICONV_CUDA
constexpr unsigned threads = 256;
#else
constexpr unsigned threads = simt::warp_size;
#endif
// Each chunk leaves one flag, so that no two blocks write to the same place.
constexpr std::int64_t chunk = 16 * 1024;

constexpr double largest_scale = std::numeric_limits<float>::max();

std::int64_t chunks_of(std::int64_t count) {
  return (count + chunk - 1) / chunk;
}

/// Block b has the b-th chunk; overflows[b] says how many of its gradients are not finite.
OMNI_KERNEL void unscale_kernel(float* gradients, std::int64_t count, const float* scale, std::int32_t* overflows) {
  const std::int64_t begin = simt::block_index().x * chunk;
  const std::int64_t end = begin + chunk < count ? begin + chunk : count;
  const float factor = 1 / *scale;
  std::int32_t overflow = 0;
  for (std::int64_t i = begin + simt::thread_rank(); i < end; i += threads) {
    const float gradient = gradients[i] * factor;
    overflow += std::isfinite(gradient) ? 0 : 1;
    gradients[i] = gradient;
  }
  const std::int32_t total = simt::block_sum(overflow);
  if (simt::thread_rank() == 0) overflows[simt::block_index().x] = total;
}

OMNI_KERNEL void decide_kernel(const std::int32_t* overflows, std::int64_t chunks, LossScaleSettings settings,
                               float* scale, LossScaleState* state, std::int32_t* skip) {
  std::int32_t overflow = 0;
  for (std::int64_t i = simt::thread_rank(); i < chunks; i += threads) overflow |= overflows[i] != 0 ? 1 : 0;
  const bool skipped = simt::block_sum(overflow) > 0;
  if (simt::thread_rank() != 0) return;
  *skip = skipped ? 1 : 0;
  double next = *scale;
  if (skipped) {
    next *= settings.backoff;
    state->good_steps = 0;
    ++state->skipped_steps;
  } else if (++state->good_steps >= settings.growth_interval) {
    next *= settings.growth;
    state->good_steps = 0;
  }
  if (next <= largest_scale) *scale = static_cast<float>(next);
}

}  // namespace

std::int64_t unscale_workspace(std::int64_t count) {
  return chunks_of(count);
}

void unscale_gradients(float* gradients, std::int64_t count, const LossScaleSettings& settings, float* scale,
                       LossScaleState* state, std::int32_t* skip, std::int32_t* workspace, Stream stream) {
  const std::int64_t chunks = chunks_of(count);
  simt::launch(unscale_kernel, {static_cast<unsigned>(chunks)}, {threads}, 0, stream, gradients, count, scale,
               workspace);
  simt::launch(decide_kernel, {1}, {threads}, 0, stream, workspace, chunks, settings, scale, state, skip);
}

}  // namespace omniconv::kernels
