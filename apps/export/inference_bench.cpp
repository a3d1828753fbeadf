#include "apps/export/inference_bench.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "apps/training/statistics.h"
#include "engine/device.h"
#include "models/folding.h"
#include "models/inference.h"
#include "models/static_conversion.h"

namespace omniconv {
namespace {

constexpr std::int64_t warm_up_calls = 3;

/// A form ready to run; its model lives as long as it.
struct Form {
  std::string name;
  std::unique_ptr<Model> model;
  std::unique_ptr<InferenceNet> net;
};

std::vector<Form> forms_of(const ModelConfig& config, std::int64_t extent) {
  std::vector<Form> forms;
  const auto add = [&](const char* name, std::unique_ptr<Model> model) {
    auto net = std::make_unique<InferenceNet>(*model, extent, extent);
    forms.push_back({name, std::move(model), std::move(net)});
  };
  auto given = std::make_unique<Model>(config, 0);
  auto folded = config.folded ? nullptr : fold(*given);
  if (config.dynamic()) {
    const Model twin(static_config(config), 0);
    add("dynamic", std::move(given));
    add("folded", std::move(folded));
    add("static", fold(twin));
  } else {
    add("static", std::move(given));
    add("folded", std::move(folded));
  }
  return forms;
}

}  // namespace

std::vector<InferenceTiming> time_inference(const ModelConfig& config, const std::vector<std::int64_t>& batch_sizes,
                                            std::int64_t calls, std::int64_t extent,
                                            const std::function<void(std::int64_t)>& on_call) {
  const std::vector<Form> forms = forms_of(config, extent);
  std::vector<InferenceTiming> timings;
  std::int64_t finished = 0;
  for (const std::int64_t batch_size : batch_sizes) {
    const Tensor images = Tensor::zeros({batch_size, extent, extent, 3}, DType::f32);
    std::vector<std::vector<double>> seconds(forms.size());
    for (std::int64_t call = -warm_up_calls; call < calls; ++call)
      for (std::size_t form = 0; form < forms.size(); ++form) {
        const double time = seconds_of([&] { forms[form].net->forward(images); });
        if (call < 0) continue;
        seconds[form].push_back(time);
        on_call(++finished);
      }
    for (std::size_t form = 0; form < forms.size(); ++form) {
      std::sort(seconds[form].begin(), seconds[form].end());
      timings.push_back({forms[form].name, batch_size, quantile(seconds[form], 0.5), quantile(seconds[form], 0.95)});
    }
  }
  return timings;
}

}  // namespace omniconv
