#include "kernels/sgd.h"

#include "kernels/simt/simt.h"

namespace omniconv::kernels {

template <class T>
void sgd_step(T* weight, const T* gradient, T* velocity, std::int64_t count, const double* learning_rate,
              const std::int32_t* skip, const SgdSettings& settings, Stream stream) {
  const T momentum = static_cast<T>(settings.momentum);
  const T weight_decay = static_cast<T>(settings.weight_decay);
  const bool nesterov = settings.nesterov;
  simt::for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    if (skip != nullptr && *skip != 0) return;
    const T lr = static_cast<T>(*learning_rate);
    const T g = gradient[i] + weight_decay * weight[i];
    const T v = momentum * velocity[i] + g;
    velocity[i] = v;
    weight[i] -= lr * (nesterov ? g + momentum * v : v);
  });
}

template void sgd_step(float*, const float*, float*, std::int64_t, const double*, const std::int32_t*,
                       const SgdSettings&, Stream);
template void sgd_step(double*, const double*, double*, std::int64_t, const double*, const std::int32_t*,
                       const SgdSettings&, Stream);

}  // namespace omniconv::kernels
