#include "engine/optimizer.h"

#include <algorithm>

#include "engine/device.h"
#include "engine/fusions.h"

namespace omniconv {

Sgd::Sgd(const ParameterStore& store, const kernels::SgdSettings& settings)
    : store_(store),
      settings_(settings),
      velocity_(Tensor::zeros(store.values().shape(), store.dtype())),
      learning_rate_(Tensor::zeros({1}, DType::f64)),
      halted_(Tensor::zeros({1}, DType::i32)) {
  expect(settings.momentum >= 0 && settings.momentum < 1, "sgd", "expected a momentum in [0, 1), got ",
         settings.momentum);
  expect(settings.weight_decay >= 0, "sgd", "expected a weight decay of at least 0, got ", settings.weight_decay);
  expect(!settings.nesterov || settings.momentum > 0, "sgd", "expected a momentum above 0 for Nesterov, got 0");
  if (store.precision() == DType::f16) {
    scaler_.emplace(store.values().count());
    loss_gradient_ = scaler_->scale();
  } else {
    loss_gradient_ =
        dispatch("sgd", store.dtype(), [](auto zero) { return Tensor::from_host(std::vector<decltype(zero)>{1}); });
  }
}

void Sgd::set_learning_rate(double learning_rate) const {
  learning_rate_.copy_from_host(&learning_rate);
}

void Sgd::clip_gradients(double max_norm) {
  expect(max_norm > 0, "sgd", "expected a norm above 0 to clip gradients to, got ", max_norm);
  max_norm_ = max_norm;
  gradient_scale_ = Tensor::zeros({1}, DType::f64);
  clip_workspace_ = Tensor::empty({kernels::clip_workspace(store_.gradients().count())}, DType::f64);
}

void Sgd::use_groups(const std::vector<kernels::SgdGroup>& groups,
                     const std::function<std::size_t(const std::string&)>& group_of) {
  std::vector<std::uint8_t> numbers(static_cast<std::size_t>(store_.values().count()), 0);
  for (const ParameterStore::Entry& entry : store_.entries()) {
    if (!entry.trained) continue;
    const std::size_t number = group_of(entry.spec.name);
    expect(number < groups.size() && number < 256, "sgd", "expected one of ", groups.size(), " groups for ",
           entry.spec.name, ", got number ", number);
    std::fill_n(numbers.begin() + entry.first, element_count(entry.spec.shape), static_cast<std::uint8_t>(number));
  }
  group_of_ = Tensor::from_host(numbers);
  groups_ = Tensor::empty({static_cast<std::int64_t>(groups.size() * sizeof(kernels::SgdGroup))}, DType::u8);
  set_groups(groups);
}

void Sgd::set_groups(const std::vector<kernels::SgdGroup>& groups) const {
  expect(groups_.defined() && groups_.bytes() == groups.size() * sizeof(kernels::SgdGroup), "sgd",
         "expected as many groups as before, got ", groups.size());
  copy_to_device(groups_.raw(), groups.data(), groups_.bytes());
}

void Sgd::halt_unless_finite(const Tensor& loss) const {
  dispatch("sgd", loss.dtype(), [&](auto zero) {
    kernels::halt_unless_finite(loss.data<decltype(zero)>(), halted_.data<std::int32_t>(), main_stream());
  });
}

void Sgd::step() const {
  if (scaler_) scaler_->unscale(store_.gradients());
  const auto* const groups = groups_.defined() ? reinterpret_cast<const kernels::SgdGroup*>(groups_.raw()) : nullptr;
  const kernels::SgdInputs inputs{.learning_rate = learning_rate_.data<double>(),
                                  .gradient_scale = gradient_scale_.data_or_null<double>(),
                                  .skip = scaler_ ? scaler_->skip() : nullptr,
                                  .halted = halted_.data<std::int32_t>(),
                                  .group_of = group_of_.data_or_null<std::uint8_t>(),
                                  .groups = groups};
  dispatch("sgd", store_.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const Tensor& gradients = store_.gradients();
    if (max_norm_ > 0)
      kernels::clip_scale(gradients.data<T>(), gradients.count(), inputs.group_of, groups, max_norm_,
                          gradient_scale_.data<double>(), clip_workspace_.data<double>(), main_stream());
    const auto update = [&](std::int64_t first, std::int64_t count) {
      kernels::SgdInputs part = inputs;
      if (part.group_of != nullptr) part.group_of += first;
      kernels::sgd_step(store_.values().data<T>() + first, gradients.data<T>() + first, velocity_.data<T>() + first,
                        count, part, settings_, main_stream());
    };
    if (fusion_enabled(Fusion::sgd)) return update(0, velocity_.count());
    for (const ParameterStore::Entry& entry : store_.entries())
      if (entry.trained) update(entry.first, element_count(entry.spec.shape));
  });
  store_.round_values();
}

}  // namespace omniconv
