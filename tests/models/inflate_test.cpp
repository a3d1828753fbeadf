// Static weights in dynamic models: the same function, and kernels that can separate.
#include "models/inflate.h"

#include "tests/catch.h"
#include "tests/models/random_model.h"
#include "tests/random.h"
#include "tests/tolerance.h"

namespace omniconv {
namespace {

using test::Approx;
using test::ContainsSubstring;
using test::require_close;
using test::Tolerance;
using test::uniform_tensor;

/// Logits of a forward pass, in training by the batch's statistics.
std::vector<double> logits_of(const Model& model, const Tensor& images, bool training) {
  Tape tape(false);
  return model.net.forward(model.pass(tape, training), Variable(images)).value().to_doubles();
}

std::unique_ptr<Model> inflated(const Model& fixed, const ModelConfig& config, double noise, std::uint64_t seed = 9) {
  auto model = std::make_unique<Model>(config, seed, DType::f64);
  model->store.load_state(inflated_state(model->store, fixed.store.state(), noise), "inflated");
  return model;
}

ModelConfig official(const std::string& model, std::int64_t kernels) {
  ModelConfig config = default_config(model, Stem::imagenet);
  config.width = 8;
  config.kernels = kernels;
  config.dropout = 0;
  return config;
}

TEST_CASE("an inflated net computes what the static one does, at any temperature", "[models]") {
  const ModelConfig config = GENERATE(values<ModelConfig>({
      {.model = "od_resnet18", .width = 8, .kernels = 4},
      {.model = "od_resnet18", .width = 8, .kernels = 1},
      {.model = "od_resnet18", .width = 8, .kernels = 2, .downsample = Downsample::fixed},
      {.model = "od_resnet18", .width = 8, .kernels = 2, .attention_norm = AttentionNorm::layer},
      official("od_resnet50", 2),
  }));
  INFO(config.model << ", K = " << config.kernels);
  const auto fixed = test::random_model(static_config(config), DType::f64);
  const std::int64_t size = config.stem == Stem::imagenet ? 32 : 8;
  const Tensor images = uniform_tensor<double>({2, size, size, 3}, 1);
  const std::vector<double> expected = logits_of(*fixed, images, false);
  for (const auto& [noise, temperature] : {std::pair(0.0, 0.5), std::pair(0.0, 30.0), std::pair(0.3, 1.0)}) {
    const auto dynamic = inflated(*fixed, config, noise);
    dynamic->set_temperature(temperature);
    require_close(logits_of(*dynamic, images, false), expected, {1e-9, 1e-9});
  }
}

TEST_CASE("an inflated net trains on as the static one would: the batch's statistics are the same", "[models]") {
  const ModelConfig config{.model = "od_resnet18", .width = 8, .kernels = 2};
  const auto fixed = test::random_model(static_config(config), DType::f64);
  const Tensor images = uniform_tensor<double>({3, 16, 16, 3}, 1);
  require_close(logits_of(*inflated(*fixed, config, 0), images, true), logits_of(*fixed, images, true), {1e-8, 1e-8});
}

/// A layer by itself.
template <class Layer>
struct Single {
  ParameterStore store;
  Layer layer;

  template <class... Arguments>
  explicit Single(std::uint64_t seed, const Arguments&... arguments)
      : store(DType::f64, seed), layer(store, "", arguments...) {
    store.allocate();
  }
  Tensor output(const Tensor& input) const {
    Tape tape(false);
    const Pass pass{tape, false, Tensor::from_host(std::vector<double>{3})};
    return layer.forward(pass, Variable(input)).value();
  }
};

TEST_CASE("each kind of layer is inflated by what its attentions divide by", "[models]") {
  struct Case {
    std::int64_t in, out, kernel_size, groups;
    double factor;
  };
  const Case c =
      GENERATE(values<Case>({{4, 6, 3, 1, 8}, {4, 6, 1, 1, 4}, {4, 4, 3, 4, 4}, {4, 4, 1, 4, 2}, {4, 6, 5, 2, 8}}));
  const std::int64_t kernels = GENERATE(1, 3);
  CAPTURE(c.in, c.out, c.kernel_size, c.groups, kernels);
  const Conv2dParams params{.stride = 1, .padding = c.kernel_size / 2, .dilation = 1, .groups = c.groups};
  const Single<Conv2d> fixed(1, c.in, c.out, c.kernel_size, params);
  Single<ODConv2d> dynamic(2, c.in, c.out, c.kernel_size, params, ODConvOptions{.kernels = kernels});
  dynamic.store.load_state(inflated_state(dynamic.store, fixed.store.state(), 0), "inflated");

  std::vector<double> expected;
  for (std::int64_t k = 0; k < kernels; ++k)
    for (const double value : fixed.store.entry("weight").variable.value().to_doubles())
      expected.push_back(c.factor * value);
  CHECK(dynamic.store.entry("weight").variable.value().to_doubles() == expected);
  const Tensor input = uniform_tensor<double>({2, 5, 6, c.in}, 3);
  require_close(dynamic.output(input).to_doubles(), fixed.output(input).to_doubles(), Tolerance::rounding<double>());
}

TEST_CASE("heads start at zero, trunks as they were drawn, the rest as the static net has it", "[models]") {
  const ModelConfig config{.model = "od_resnet18", .width = 8, .kernels = 2};
  const auto fixed = test::random_model(static_config(config), DType::f64);
  auto before = fixed->store.state();
  before["bn1.num_batches_tracked"] = make_host_tensor(std::vector<std::int64_t>{12}, {});
  Model dynamic(config, 9, DType::f64);
  const auto fresh = dynamic.store.state();
  dynamic.store.load_state(inflated_state(dynamic.store, before, 0.1), "inflated");
  const auto state = dynamic.store.state();
  for (const auto& [name, tensor] : state) {
    INFO(name);
    if (name.find("_fc.") != std::string::npos) {
      for (const double value : to_doubles(tensor, name)) CHECK(value == 0);
    } else if (name.find("attention.") != std::string::npos) {
      CHECK(tensor == fresh.at(name));
    } else if (tensor.shape.size() != 5) {
      CHECK(tensor == before.at(name));
    }
  }
  CHECK(state.at("bn1.running_mean") != fresh.at("bn1.running_mean"));
}

TEST_CASE("noise sets kernels apart around the static one, by the seed", "[models]") {
  const ModelConfig config{.model = "od_resnet18", .width = 8, .kernels = 3};
  const auto fixed = test::random_model(static_config(config), DType::f64);
  const std::string name = "layer1.0.conv1.weight";
  const auto kernels = [&](double noise, std::uint64_t seed) {
    return to_doubles(inflated(*fixed, config, noise, seed)->store.state().at(name), name);
  };
  const auto source = to_doubles(fixed->store.state().at(name), name), apart = kernels(0.1, 1);
  const std::size_t count = source.size();
  double distance = 0;
  for (std::size_t i = 0; i < count; ++i) {
    CHECK((apart[i] + apart[count + i] + apart[2 * count + i]) / 3 == Approx(8 * source[i]).margin(1e-12));
    distance += std::abs(apart[i] - apart[count + i]);
  }
  CHECK(distance / static_cast<double>(count) > 0.01);
  CHECK(kernels(0.1, 1) == apart);
  CHECK(kernels(0.1, 2) != apart);
  CHECK(kernels(0, 1) == kernels(0, 2));
}

TEST_CASE("equal kernels would stay equal: only noise gives the kernel attention a gradient", "[models]") {
  const ModelConfig config{.model = "od_resnet18", .width = 8, .kernels = 2};
  const auto fixed = test::random_model(static_config(config), DType::f64);
  const Tensor images = uniform_tensor<double>({3, 8, 8, 3}, 1);
  const Tensor labels = Tensor::from_host(std::vector<std::int32_t>{1, 7, 4});
  const auto gradient = [&](double noise) {
    const auto model = inflated(*fixed, config, noise);
    Tape tape;
    model->store.begin_gradients();
    tape.backward(
        ops::cross_entropy(tape, model->net.forward(model->pass(tape, true), Variable(images)), labels, nullptr));
    model->store.finish_gradients();
    double largest = 0;
    for (const double value :
         model->store.entry("layer1.0.conv1.attention.kernel_fc.bias").variable.grad().to_doubles())
      largest = std::max(largest, std::abs(value));
    return largest;
  };
  CHECK(gradient(0) < 1e-12);
  CHECK(gradient(0.1) > 1e-6);
}

TEST_CASE("tensors that do not fit are refused by name", "[models]") {
  const ModelConfig config{.model = "od_resnet18", .width = 8, .kernels = 2};
  Model dynamic(config, 0);
  auto state = Model(static_config(config), 1).store.state();
  const auto load = [&](const auto& tensors) {
    dynamic.store.load_state(inflated_state(dynamic.store, tensors, 0.1), "FILE");
  };
  auto changed = state;
  changed.erase("layer1.0.conv1.weight");
  changed.erase("bn1.bias");
  CHECK_THROWS_WITH(load(changed), ContainsSubstring("[checkpoint] FILE") && ContainsSubstring("missing: bn1.bias"));
  changed = state;
  changed["layer1.0.conv1.weight"] = make_host_tensor(std::vector<float>(8 * 8), {8, 8, 1, 1});
  CHECK_THROWS_WITH(load(changed), ContainsSubstring("layer1.0.conv1.weight [8, 8, 1, 1] instead of [2, 8, 8, 3, 3]"));
  changed = state;
  changed["extra"] = state.at("bn1.bias");
  CHECK_THROWS_WITH(load(changed), ContainsSubstring("unknown: \"extra\""));
}

}  // namespace
}  // namespace omniconv
