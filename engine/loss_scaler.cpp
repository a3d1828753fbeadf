#include "engine/loss_scaler.h"

#include "engine/device.h"

namespace omniconv {

LossScaler::LossScaler(std::int64_t count, const kernels::LossScaleSettings& settings)
    : settings_(settings),
      scale_(Tensor::from_host(std::vector<float>{static_cast<float>(settings.initial)})),
      state_(Tensor::zeros({sizeof(kernels::LossScaleState)}, DType::u8)),
      skip_(Tensor::zeros({1}, DType::i32)),
      workspace_(Tensor::empty({kernels::unscale_workspace(count)}, DType::i32)) {}

void LossScaler::unscale(const Tensor& gradients) const {
  expect(kernels::unscale_workspace(gradients.count()) == workspace_.count(), "loss_scaler",
         "expected the gradients it was made for, got ", gradients.count(), " values");
  kernels::unscale_gradients(gradients.data<float>(), gradients.count(), settings_, scale_.data<float>(),
                             reinterpret_cast<kernels::LossScaleState*>(state_.raw()), skip_.data<std::int32_t>(),
                             workspace_.data<std::int32_t>(), main_stream());
}

LossScaler::State LossScaler::read() const {
  kernels::LossScaleState state;
  copy_to_host(&state, state_.raw(), sizeof(state));
  return {scale_.to_host<float>().front(), state.good_steps, state.skipped_steps};
}

void LossScaler::write(const State& state) const {
  const kernels::LossScaleState counts{state.good_steps, state.skipped_steps};
  copy_to_device(state_.raw(), &counts, sizeof(counts));
  scale_.copy_from_host(&state.scale);
}

}  // namespace omniconv
