// Prepared models against the models themselves: any batch size, every form, and one image alone as in a batch.
#include "models/inference.h"

#include "models/folding.h"
#include "tests/models/random_model.h"
#include "tests/tolerance.h"

namespace omniconv {
namespace {

using test::ContainsSubstring;
using test::logits_of;
using test::random_model;
using test::require_close;
using test::uniform_tensor;

template <class T>
void check_inference(const ModelConfig& config, const test::Tolerance& tolerance) {
  const auto model = random_model(config, DTypeOf<T>::value);
  const auto folded = fold(*model);
  for (const Model* form : {model.get(), folded.get()}) {
    InferenceNet net(*form, 16, 16);
    for (const std::int64_t samples : {3, 1, 10}) {  // buffers grow and shrink
      INFO(config.model << ", K = " << config.kernels << ", folded " << form->config.folded << ", N = " << samples);
      const Tensor images = uniform_tensor<T>({samples, 16, 16, 3}, 7);
      require_close(net.forward(images).to_doubles(), logits_of(*form, images).to_doubles(), tolerance, "logits");
    }
  }
}

TEST_CASE("a prepared model computes the model's logits", "[inference]") {
  for (const ModelConfig& config :
       {ModelConfig{.model = "od_resnet18", .width = 8, .kernels = 3},
        ModelConfig{.model = "od_resnet18", .width = 16, .kernels = 1, .downsample = Downsample::fixed},
        ModelConfig{.model = "od_resnet18", .width = 8, .kernels = 2, .attention_norm = AttentionNorm::layer},
        ModelConfig{.model = "resnet18", .width = 16, .kernels = 1}}) {
    check_inference<double>(config, {1e-9, 1e-9});
    check_inference<float>(config, {1e-3, 1e-4});
  }
}

TEST_CASE("a prepared model has bottlenecks and a max-pool, too", "[inference]") {
  const auto model =
      random_model({.model = "od_resnet50", .width = 8, .kernels = 2, .stem = Stem::imagenet}, DType::f64);
  InferenceNet net(*model, 16, 16);
  const Tensor images = uniform_tensor<double>({2, 16, 16, 3}, 7);
  require_close(net.forward(images).to_doubles(), logits_of(*model, images).to_doubles(), {1e-9, 1e-9}, "logits");
}

TEST_CASE("logits of an image do not depend on its batch", "[inference]") {
  const auto model = random_model({.model = "od_resnet18", .width = 16, .kernels = 2}, DType::f32);
  InferenceNet net(*model, 16, 16);
  const Tensor images = uniform_tensor<float>({9, 16, 16, 3}, 3);
  const auto logits_of_first = [&](std::int64_t count) {
    return net.forward(images.view(0, {count, 16, 16, 3})).to_host<float>();
  };
  std::vector<float> one_by_one;
  for (std::int64_t n = 0; n < 9; ++n) {
    const std::vector<float> alone = net.forward(images.view(n * 16 * 16 * 3, {1, 16, 16, 3})).to_host<float>();
    one_by_one.insert(one_by_one.end(), alone.begin(), alone.end());
  }
  require_close(logits_of_first(7), std::vector<float>(one_by_one.begin(), one_by_one.begin() + 7 * 10), {0, 0}, "7");
  // From 8 images on another algorithm may compute a layer.
  require_close(logits_of_first(9), one_by_one, {1e-4, 1e-5}, "9");
}

TEST_CASE("a prepared model follows the temperature and refuses other images", "[inference]") {
  const auto model = random_model({.model = "od_resnet18", .width = 8, .kernels = 2}, DType::f64);
  InferenceNet net(*model, 16, 16);
  const Tensor images = uniform_tensor<double>({2, 16, 16, 3}, 7);
  const std::vector<double> before = net.forward(images).to_doubles();
  model->set_temperature(4);
  const std::vector<double> after = net.forward(images).to_doubles();
  CHECK(before != after);
  require_close(after, logits_of(*model, images).to_doubles(), {1e-9, 1e-9}, "logits");
  CHECK_THROWS_WITH(net.forward(uniform_tensor<double>({2, 16, 8, 3}, 7)),
                    ContainsSubstring("[inference] expected images of f64 and shape [2, 16, 16, 3], got f64"));
  CHECK_THROWS_WITH(net.forward(uniform_tensor<float>({2, 16, 16, 3}, 7)), ContainsSubstring("got f32 of shape"));
}

}  // namespace
}  // namespace omniconv
