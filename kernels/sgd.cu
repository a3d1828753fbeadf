#include "kernels/sgd.h"

#include <cmath>

#include "kernels/simt/simt.h"

namespace omniconv::kernels {
namespace {

#if OMNICONV_CUDA
constexpr unsigned clip_threads = 256;
#else
constexpr unsigned clip_threads = 1;
#endif
constexpr std::int64_t clip_chunk = 16 * 1024;

/// The sum of `value` over the threads of a block.
OMNI_DEVICE double sum_of_block(double value) {
  if constexpr (clip_threads == 1) return value;
  return simt::block_sum(value);
}

/// Block b sums the squares of the b-th chunk.
template <class T>
OMNI_KERNEL void square_sums_kernel(const T* gradient, std::int64_t count, const std::uint8_t* group_of,
                                    const SgdGroup* groups, double* sums) {
  const std::int64_t begin = simt::block_index().x * clip_chunk;
  const std::int64_t end = begin + clip_chunk < count ? begin + clip_chunk : count;
  double sum = 0;
  for (std::int64_t i = begin + simt::thread_rank(); i < end; i += clip_threads) {
    const bool trained = group_of == nullptr || groups[group_of[i]].trained != 0;
    const double value = trained ? static_cast<double>(gradient[i]) : 0;
    sum += value * value;
  }
  const double total = sum_of_block(sum);
  if (simt::thread_rank() == 0) sums[simt::block_index().x] = total;
}

OMNI_KERNEL void clip_scale_kernel(const double* sums, std::int64_t chunks, double max_norm, double* scale) {
  double sum = 0;
  for (std::int64_t i = simt::thread_rank(); i < chunks; i += clip_threads) sum += sums[i];
  const double norm = std::sqrt(sum_of_block(sum));
  if (simt::thread_rank() != 0) return;
  const double ratio = max_norm / (norm + 1e-6);
  *scale = ratio < 1 ? ratio : 1;
}

OMNI_HOST_DEVICE bool changes_nothing(const SgdInputs& inputs) {
  return (inputs.skip != nullptr && *inputs.skip != 0) || (inputs.halted != nullptr && *inputs.halted != 0);
}

}  // namespace

template <class T>
void sgd_step(T* weight, const T* gradient, T* velocity, std::int64_t count, const SgdInputs& inputs,
              const SgdSettings& settings, Stream stream) {
  const T momentum = static_cast<T>(settings.momentum);
  const T weight_decay = static_cast<T>(settings.weight_decay);
  const bool nesterov = settings.nesterov;
  // Without groups a loop of its own, which the compiler vectorises.
  if (inputs.group_of == nullptr) {
    simt::for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
      const bool skip = changes_nothing(inputs);
      const T lr = static_cast<T>(*inputs.learning_rate);
      const T scale = inputs.gradient_scale == nullptr ? T(1) : static_cast<T>(*inputs.gradient_scale);
      const T g = scale * gradient[i] + weight_decay * weight[i];
      const T v = momentum * velocity[i] + g;
      velocity[i] = skip ? velocity[i] : v;
      weight[i] = skip ? weight[i] : weight[i] - lr * (nesterov ? g + momentum * v : v);
    });
    return;
  }
  simt::for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    if (changes_nothing(inputs)) return;
    const SgdGroup& group = inputs.groups[inputs.group_of[i]];
    if (group.trained == 0) {
      velocity[i] = 0;
      return;
    }
    const T lr = static_cast<T>(*inputs.learning_rate);
    const T scale = inputs.gradient_scale == nullptr ? T(1) : static_cast<T>(*inputs.gradient_scale);
    const T g = scale * gradient[i] + static_cast<T>(group.weight_decay) * weight[i];
    const T v = momentum * velocity[i] + g;
    velocity[i] = v;
    weight[i] -= lr * (nesterov ? g + momentum * v : v);
  });
}

template <class T>
void halt_unless_finite(const T* loss, std::int32_t* halted, Stream stream) {
  simt::for_each_index(1, stream, [=] OMNI_HOST_DEVICE(std::int64_t) {
    if (!std::isfinite(*loss)) *halted = 1;
  });
}

std::int64_t clip_workspace(std::int64_t count) {
  return (count + clip_chunk - 1) / clip_chunk;
}

template <class T>
void clip_scale(const T* gradient, std::int64_t count, const std::uint8_t* group_of, const SgdGroup* groups,
                double max_norm, double* scale, double* workspace, Stream stream) {
  const std::int64_t chunks = clip_workspace(count);
  simt::launch(square_sums_kernel<T>, {static_cast<unsigned>(chunks)}, {clip_threads}, 0, stream, gradient, count,
               group_of, groups, workspace);
  simt::launch(clip_scale_kernel, {1}, {clip_threads}, 0, stream, workspace, chunks, max_norm, scale);
}

#define OMNICONV_INSTANTIATE(T)                                                                                    \
  template void sgd_step(T*, const T*, T*, std::int64_t, const SgdInputs&, const SgdSettings&, Stream);            \
  template void halt_unless_finite(const T*, std::int32_t*, Stream);                                               \
  template void clip_scale(const T*, std::int64_t, const std::uint8_t*, const SgdGroup*, double, double*, double*, \
                           Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
