// A step of training under every fusion against the same step without it.
#include "engine/fusions.h"

#include "engine/ops/functions.h"
#include "tests/models/random_model.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

/// The logits of a training pass, and the gradients of all parameters.
template <class T>
std::pair<std::vector<T>, std::vector<T>> training_pass(const ModelConfig& config) {
  const auto model = random_model(config, DTypeOf<T>::value);
  const Variable images(uniform_tensor<T>({4, 16, 16, 3}, 1));
  Tape tape;
  model->store.begin_gradients();
  const Variable logits = model->net.forward(model->pass(tape, true), images);
  tape.backward(ops::cross_entropy(tape, logits, Tensor::from_host(std::vector<std::int32_t>{0, 2, 9, 5}), nullptr));
  model->store.finish_gradients();
  return {logits.value().template to_host<T>(), model->store.gradients().template to_host<T>()};
}

TEMPLATE_TEST_CASE("a network learns the same with a fusion and without it", "[models][fusions]", float, double) {
  const std::string name = GENERATE("od_resnet18", "od_resnet50");
  if (std::is_same_v<TestType, float> && name == "od_resnet50") return;  // fifty layers magnify rounding
  const Fusion fusion = GENERATE(from_range(std::begin(all_fusions), std::end(all_fusions)));
  // This one sums in another order, which the attentions' norms over four samples magnify: one in f64 shows enough.
  if (fusion == Fusion::attention && (std::is_same_v<TestType, float> || name == "od_resnet50")) return;
  CAPTURE(name, name_of(fusion));
  ModelConfig config = default_config(name, Stem::cifar);
  config.width = 8;
  const auto pass = [&](bool fused) {
    const WithFusion form(fusion, fused);
    return training_pass<TestType>(config);
  };
  const auto [logits, gradients] = pass(true);
  const auto [expected_logits, expected_gradients] = pass(false);
  if (fusion == Fusion::attention) {
    constexpr double magnified = 1e4;
    require_small_error<TestType>(logits, expected_logits, magnified * norm_of(expected_logits), "logits");
    require_small_error<TestType>(gradients, expected_gradients, magnified * norm_of(expected_gradients), "gradients");
    return;
  }
  require_close(logits, expected_logits, Tolerance::rounding<TestType>(), "logits");
  require_close(gradients, expected_gradients, Tolerance::rounding<TestType>(), "gradients");
}

}  // namespace
}  // namespace omniconv::test
