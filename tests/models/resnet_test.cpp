// The nets: parameter counts, names and shapes of the article, gradients through a whole net, checkpoints.
#include "engine/allocator.h"
#include "engine/schedule.h"
#include "models/block.h"
#include "models/checkpoint.h"

#include "tests/autograd_check.h"
#include "tests/temporary_folder.h"

namespace omniconv {
namespace {

using test::ContainsSubstring;
using test::TemporaryFolder;
using test::uniform_tensor;

/// A net that is declared and not allocated: enough to count.
struct Declared {
  ParameterStore store{DType::f32, 0};
  ResNet net;

  explicit Declared(const ModelConfig& config) : net(config, store) {}
};

std::int64_t parameters(const ModelConfig& config) {
  return Declared(config).store.parameter_count();
}

ModelConfig official(const std::string& model, std::int64_t kernels) {
  ModelConfig config = default_config(model, Stem::imagenet);
  config.kernels = kernels;
  return config;
}

TEST_CASE("parameter counts are the article's", "[models]") {
  CHECK(parameters({.model = "od_resnet18", .kernels = 4}) == 44416202);
  CHECK(parameters({.model = "od_resnet18", .kernels = 1}) == 11458506);
  CHECK(parameters({.model = "resnet18", .kernels = 1}) == 11173962);
}

TEST_CASE("parameter counts in ImageNet's form are those of the official code", "[models]") {
  CHECK(parameters(official("od_resnet18", 1)) == 11943944);
  CHECK(parameters(official("od_resnet18", 4)) == 44901640);
  // Counted by tests/pytorch/test_odconv.py.
  CHECK(parameters(official("od_resnet34", 1)) == 22290168);
  CHECK(parameters(official("od_resnet34", 4)) == 85551288);
  CHECK(parameters(official("od_resnet50", 1)) == 28635112);
  CHECK(parameters(official("od_resnet50", 4)) == 90670888);
  CHECK(parameters(official("od_resnet101", 1)) == 50818769);
  CHECK(parameters(official("od_resnet101", 4)) == 169680989);
  // torchvision's.
  CHECK(parameters(official("resnet18", 1)) == 11689512);
  CHECK(parameters(official("resnet34", 1)) == 21797672);
  CHECK(parameters(official("resnet50", 1)) == 25557032);
  CHECK(parameters(official("resnet101", 1)) == 44549160);
}

TEST_CASE("multiply-accumulates per image, by part", "[models]") {
  const auto cost = [](const ModelConfig& config) {
    return Declared(config).net.cost(config.image_size, config.image_size);
  };
  CHECK(cost({.model = "od_resnet18", .kernels = 4}).total() == 600853360);
  CHECK(cost({.model = "od_resnet18", .kernels = 4}).aggregation == 43941888);
  CHECK(cost({.model = "od_resnet18", .kernels = 1}).total() == 567895728);
  const Cost fixed = cost({.model = "resnet18", .kernels = 1});
  CHECK(fixed.total() == 555422720);
  CHECK(fixed.total() == fixed.convolution);
  // The 1.8, 4.1 and 7.8 GMACs of the literature.
  CHECK(cost(official("resnet18", 1)).total() == 1814073344);
  CHECK(cost(official("resnet50", 1)).total() == 4089184256);
  CHECK(cost(official("resnet101", 1)).total() == 7801405440);
  CHECK(cost(official("od_resnet50", 4)).convolution == 4089184256);
}

TEST_CASE("names and shapes are PyTorch's", "[models]") {
  const Model model({.model = "od_resnet18", .width = 16, .kernels = 4}, 0);
  const auto state = model.store.state();
  const auto shape = [&](const std::string& name) { return state.at(name).shape; };
  CHECK(shape("conv1.weight") == Shape{16, 3, 3, 3});
  CHECK(shape("bn1.running_var") == Shape{16});
  CHECK(shape("layer1.0.conv1.weight") == Shape{4, 16, 16, 3, 3});
  CHECK(shape("layer1.0.conv1.attention.fc.weight") == Shape{16, 16, 1, 1});
  CHECK(shape("layer1.0.conv1.attention.bn.num_batches_tracked") == Shape{});
  CHECK(shape("layer2.0.conv1.attention.channel_fc.weight") == Shape{16, 16, 1, 1});
  CHECK(shape("layer2.0.conv1.attention.filter_fc.weight") == Shape{32, 16, 1, 1});
  CHECK(shape("layer2.0.conv1.attention.spatial_fc.bias") == Shape{9});
  CHECK(shape("layer2.0.conv1.attention.kernel_fc.weight") == Shape{4, 16, 1, 1});
  CHECK(shape("layer2.0.downsample.0.weight") == Shape{1, 32, 16, 1, 1});
  CHECK(shape("layer2.0.downsample.1.weight") == Shape{32});
  CHECK_FALSE(state.contains("layer2.0.downsample.0.attention.spatial_fc.weight"));
  CHECK_FALSE(state.contains("layer2.0.downsample.0.attention.kernel_fc.weight"));
  CHECK(shape("fc.weight") == Shape{10, 128});
  CHECK(state.contains("layer4.1.bn2.bias"));
  const Model fixed({.model = "od_resnet18", .width = 16, .downsample = Downsample::fixed}, 0);
  CHECK(fixed.store.state().at("layer2.0.downsample.0.weight").shape == Shape{32, 16, 1, 1});
  CHECK(Model({.model = "resnet34", .width = 8, .kernels = 1}, 0).store.state().contains("layer3.5.conv2.weight"));
}

TEST_CASE("names and shapes in ImageNet's form are those of the official code", "[models]") {
  const Declared declared(official("od_resnet50", 4));
  const auto layout = declared.store.layout();
  const auto shape = [&](const std::string& name) { return layout.at(name).shape; };
  CHECK(shape("conv1.weight") == Shape{64, 3, 7, 7});
  CHECK(shape("layer1.0.conv1.weight") == Shape{4, 64, 64, 1, 1});
  CHECK(shape("layer1.0.conv1.attention.kernel_fc.weight") == Shape{4, 16, 1, 1});
  CHECK(shape("layer1.0.conv3.weight") == Shape{4, 256, 64, 1, 1});
  CHECK(shape("layer1.0.downsample.0.weight") == Shape{256, 64, 1, 1});
  CHECK(shape("layer2.0.conv1.attention.fc.weight") == Shape{16, 256, 1, 1});
  CHECK(shape("layer4.1.conv1.attention.fc.weight") == Shape{128, 2048, 1, 1});
  CHECK(shape("layer4.2.conv2.attention.spatial_fc.bias") == Shape{9});
  CHECK(shape("layer4.2.bn3.running_var") == Shape{2048});
  CHECK(shape("layer4.2.bn3.num_batches_tracked") == Shape{});
  CHECK(layout.at("layer4.2.bn3.num_batches_tracked").dtype == DType::i64);
  CHECK(shape("fc.weight") == Shape{1000, 2048});
  CHECK_FALSE(layout.contains("layer1.0.conv1.attention.spatial_fc.weight"));
  CHECK_FALSE(layout.contains("layer1.1.downsample.0.weight"));
}

TEST_CASE("the layout of a store is that of its state", "[models]") {
  const Model model({.model = "od_resnet50", .width = 8, .kernels = 2}, 0);
  const auto state = model.store.state();
  const auto layout = model.store.layout();
  REQUIRE(layout.size() == state.size());
  for (const auto& [name, tensor] : state) {
    INFO(name);
    CHECK(layout.at(name).shape == tensor.shape);
    CHECK(layout.at(name).dtype == tensor.dtype);
  }
}

TEST_CASE("the form of a model brings its usual options", "[models]") {
  CHECK(default_config("od_resnet18", Stem::cifar) == ModelConfig{});
  CHECK(default_config("resnet34", Stem::cifar) == ModelConfig{.model = "resnet34", .kernels = 1});
  const ModelConfig dynamic = official("od_resnet101", 4);
  CHECK(dynamic.downsample == Downsample::fixed);
  CHECK(dynamic.dropout == 0.1);
  CHECK(dynamic.classes == 1000);
  CHECK(dynamic.image_size == 224);
  CHECK(default_config("resnet50", Stem::imagenet).dropout == 0);
}

TEST_CASE("gradients through a whole ODResNet", "[models]") {
  const Model model({.model = "od_resnet18", .width = 8, .kernels = 2}, 3, DType::f64);
  model.set_temperature(2);
  const Variable images(uniform_tensor<double>({3, 8, 8, 3}, 1), true);
  const Tensor labels = Tensor::from_host(std::vector<std::int32_t>{1, 7, 4});
  std::vector<test::NamedVariable> inputs{{"images", images}};
  for (const char* name : {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer1.1.bn2.bias",
                           "layer2.0.conv1.attention.fc.weight", "layer2.0.downsample.0.weight",
                           "layer3.0.conv2.attention.kernel_fc.bias", "layer4.1.conv2.weight", "fc.weight", "fc.bias"})
    inputs.push_back({name, model.store.entry(name).variable});
  // Many ReLUs and a batch norm over three rows: only a very small step keeps the differences on one side of the kinks.
  test::check_gradients(
      [&](Tape& tape) {
        return ops::cross_entropy(tape, model.net.forward(model.pass(tape, true), images), labels, nullptr);
      },
      inputs, 6, 1e-8, {1e-5, 1e-4});
}

TEST_CASE("gradients through a bottleneck", "[models]") {
  // Whole nets of bottlenecks are compared with PyTorch's: fifty layers deep, differences would say little.
  ParameterStore store(DType::f64, 3);
  const Block block({.model = "od_resnet50", .kernels = 2}, store, "", 6, 3, 2);
  store.allocate();
  CHECK(block.out_channels() == 12);
  const Variable input(uniform_tensor<double>({4, 5, 6, 6}, 1), true);
  const Tensor temperature = Tensor::from_host(std::vector<double>{2});
  std::vector<test::NamedVariable> inputs{{"input", input}};
  for (const char* name :
       {"conv1.weight", "conv1.attention.kernel_fc.weight", "conv2.weight", "conv2.attention.spatial_fc.bias",
        "bn2.weight", "conv3.weight", "conv3.attention.fc.weight", "bn3.bias", "downsample.0.weight"})
    inputs.push_back({name, store.entry(name).variable});
  test::check_gradients(
      [&](Tape& tape) {
        return block.forward({tape, true, temperature}, input);
      },
      inputs, 12, 1e-7, {1e-6, 1e-5});
}

TEST_CASE("dropout moves with the step in training, and is nothing in evaluation", "[models]") {
  const Model model({.model = "resnet18", .width = 8, .kernels = 1, .dropout = 0.5}, 3);
  const Variable images(uniform_tensor<float>({3, 8, 8, 3}, 1));
  const auto logits = [&](bool training) {
    Tape tape(false);
    return model.net.forward(model.pass(tape, training), images).value().to_doubles();
  };
  const auto first = logits(true);
  model.set_step(1);
  CHECK(logits(true) != first);
  model.set_step(0);
  CHECK(logits(true) == first);
  Model whole({.model = "resnet18", .width = 8, .kernels = 1}, 3);
  whole.store.load_state(model.store.state(), "test");
  Tape tape(false);
  CHECK(logits(false) == whole.net.forward(whole.pass(tape, false), images).value().to_doubles());
}

TEST_CASE("the state survives a round trip", "[models]") {
  const ModelConfig config{.model = "od_resnet18",
                           .width = 8,
                           .kernels = 3,
                           .reduction = 0.125,
                           .classes = 7,
                           .attention_norm = AttentionNorm::frozen,
                           .attention_init = AttentionInit::zero,
                           .stem = Stem::imagenet,
                           .image_size = 64,
                           .dropout = 0.25};
  const Model saved(config, 1);
  Model loaded(config, 2);
  const auto state = saved.store.state();
  CHECK(loaded.store.state() != state);
  loaded.store.load_state(state, "test");
  CHECK(loaded.store.state() == state);
  CHECK(config_from_file(state, to_metadata(config), "test") == config);
}

TEST_CASE("initial values depend on the seed and the name alone", "[models]") {
  const ModelConfig config{.model = "od_resnet18", .width = 8, .kernels = 2};
  CHECK(Model(config, 1).store.state() == Model(config, 1).store.state());
  const Model dynamic(config, 1), fixed({.model = "resnet18", .width = 8, .kernels = 1}, 1);
  CHECK(dynamic.store.state().at("conv1.weight") == fixed.store.state().at("conv1.weight"));
}

ModelConfig narrow(ModelConfig config) {
  config.width = 8;
  return config;
}

TEST_CASE("a file without metadata tells its model", "[models]") {
  for (const ModelConfig& config :
       {ModelConfig{.model = "od_resnet18", .width = 24, .kernels = 2},
        ModelConfig{.model = "od_resnet34", .width = 8, .kernels = 1, .downsample = Downsample::fixed, .classes = 3},
        ModelConfig{.model = "od_resnet18", .width = 64, .kernels = 1, .reduction = 0.25},
        ModelConfig{.model = "resnet34", .width = 8, .kernels = 1},
        ModelConfig{.model = "od_resnet50", .width = 8, .kernels = 2, .classes = 12},
        ModelConfig{.model = "resnet101", .width = 8, .kernels = 1}, narrow(official("od_resnet101", 1)),
        narrow(official("resnet50", 1)), narrow(official("od_resnet18", 3))}) {
    auto state = Model(config, 0).store.state();
    std::map<std::string, HostTensor> prefixed;
    for (auto& [name, tensor] : state) prefixed.emplace("module." + name, tensor);
    CHECK(config_from_file(without_module_prefix(prefixed), {}, "test") == config);
  }
}

/// `state` as a cast of the whole state dict to `dtype` leaves it, counters included.
std::map<std::string, HostTensor> cast(const std::map<std::string, HostTensor>& state, DType dtype) {
  std::map<std::string, HostTensor> result;
  for (const auto& [name, tensor] : state) {
    std::vector<double> values;
    if (name.ends_with("num_batches_tracked"))
      for (const std::int64_t count : to_integers(tensor, name)) values.push_back(static_cast<double>(count));
    else
      values = to_doubles(tensor, name);
    result.emplace(name, round_to_host_tensor(std::span<const double>(values), tensor.shape, dtype));
  }
  return result;
}

TEST_CASE("states of every floating type load, with counters, with cast ones and without any", "[models]") {
  const ModelConfig config{.model = "od_resnet18", .width = 8, .kernels = 2};
  auto state = Model(config, 1).store.state();
  for (auto& [name, tensor] : state)
    if (name.ends_with("num_batches_tracked")) tensor = make_host_tensor<std::int64_t>({40}, {});
  Model model(config, 2);
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    const auto stored = cast(state, dtype);
    model.store.load_state(stored, "test");
    for (const auto& [name, tensor] : model.store.state()) {
      INFO(name << ' ' << name_of(dtype));
      if (name.ends_with("num_batches_tracked"))
        CHECK(to_integers(tensor, name) == std::vector<std::int64_t>{40});
      else
        CHECK(to_doubles(tensor, name) == to_doubles(stored.at(name), name));
    }
  }
  auto without = state;
  std::erase_if(without, [](const auto& entry) { return entry.first.ends_with("num_batches_tracked"); });
  model.store.load_state(without, "test");
  CHECK(model.store.state().at("bn1.num_batches_tracked") == make_host_tensor<std::int64_t>({0}, {}));
  CHECK(model.store.state().at("fc.weight") == state.at("fc.weight"));
  for (auto& [name, tensor] : state)
    if (name.ends_with("num_batches_tracked")) tensor = round_to_host_tensor(std::vector<double>{1e6}, {1}, DType::f16);
  model.store.load_state(state, "test");
  CHECK(model.store.state().at("bn1.num_batches_tracked") == make_host_tensor<std::int64_t>({0}, {}));
}

TEST_CASE("foreign states are refused, naming the first few tensors", "[models]") {
  Model model({.model = "od_resnet18", .width = 8, .kernels = 2}, 0);
  const auto before = model.store.state();
  auto state = Model({.model = "od_resnet18", .width = 8, .kernels = 3}, 1).store.state();
  CHECK_THROWS_WITH(model.store.load_state(state, "FILE"),
                    ContainsSubstring("[checkpoint] FILE: expected the tensors of this model") &&
                        ContainsSubstring("kernel_fc.bias [3] instead of [2]") && ContainsSubstring("more"));
  state = before;
  state.erase("fc.bias");
  state.emplace("extra", state.at("fc.weight"));
  CHECK_THROWS_WITH(model.store.load_state(state, "FILE"),
                    ContainsSubstring("missing: fc.bias") && ContainsSubstring("unknown: \"extra\""));
  state = before;
  state.emplace("a\nb", state.at("fc.weight"));
  CHECK_THROWS_WITH(model.store.load_state(state, "FILE"), ContainsSubstring("unknown: \"a\\x0ab\""));
  state = before;
  state["fc.bias"] = make_host_tensor(std::vector<std::int32_t>(10), {10});
  CHECK_THROWS_WITH(model.store.load_state(state, "FILE"), ContainsSubstring("of another type: fc.bias i32"));
  state = before;
  state["bn1.num_batches_tracked"] = make_host_tensor<std::int64_t>({1, 2}, {2});
  CHECK_THROWS_WITH(model.store.load_state(state, "FILE"),
                    ContainsSubstring("expected bn1.num_batches_tracked to be a scalar, got shape [2]"));
  CHECK(model.store.state() == before);
  CHECK_THROWS_WITH(config_from_file({}, {}, "FILE"), ContainsSubstring("[checkpoint] FILE: expected a ResNet's"));
  CHECK_THROWS_WITH(config_from_file({{"lstm.weight", before.at("fc.weight")}}, {}, "FILE"),
                    ContainsSubstring("got none named conv1.weight but \"lstm.weight\""));
  CHECK_THROWS_WITH(without_module_prefix({{"fc.bias", {}}, {"module.fc.bias", {}}}),
                    ContainsSubstring("expected each name once, got \"fc.bias\" with and without module."));
  state = before;
  std::erase_if(state, [](const auto& entry) { return entry.first.starts_with("layer4.1."); });
  CHECK_THROWS_WITH(config_from_file(state, {}, "FILE"),
                    ContainsSubstring("got basic blocks, [2, 2, 2, 1] in the four stages"));
  // A file whose model can be told in spite of what is missing: which tensors those are is the loader's to say.
  for (const char* missing : {"layer1.0.conv1.weight", "layer1.0.conv1.attention.fc.weight", "fc.weight", "fc.bias"}) {
    state = before;
    state.erase(missing);
    CHECK(config_from_file(state, {}, "FILE") == config_from_file(before, {}, "FILE"));
  }
  state = before;
  state["conv1.weight"] = make_host_tensor(std::vector<float>(8 * 3 * 25), {8, 3, 5, 5});
  CHECK_THROWS_WITH(config_from_file(state, {}, "FILE"),
                    ContainsSubstring("expected a first convolution of 3x3 or 7x7, got shape [8, 3, 5, 5]"));
  state = before;
  state["layer1.0.conv1.attention.fc.weight"] = make_host_tensor(std::vector<float>(17 * 8), {17, 8, 1, 1});
  CHECK_THROWS_WITH(config_from_file(state, {}, "FILE"),
                    ContainsSubstring("expected attention widths of one reduction up to 1, got others"));
  CHECK_THROWS_WITH(config_from_file(before, {{"dropout", "half"}}, "FILE"),
                    ContainsSubstring("expected a number as dropout in the metadata, got \"half\""));
  CHECK_THROWS_WITH(config_from_file(before, {{"image_size", "1e9"}}, "FILE"), ContainsSubstring("image_size"));
  CHECK_THROWS_WITH(config_from_file(before, {{"dropout", "nan"}}, "FILE"), ContainsSubstring("a dropout in [0, 1)"));
}

TEST_CASE("what a file claims costs no memory before its tensors were compared", "[models]") {
  // One tensor makes it a model of eight times its width.
  SafetensorsFile file = model_file(Model({.model = "resnet18", .width = 8, .kernels = 1}, 0), 1);
  file.tensors["conv1.weight"] = make_host_tensor(std::vector<float>(64 * 3 * 9), {64, 3, 3, 3});
  const TemporaryFolder folder;
  write_safetensors(folder.file("model"), file);
  reset_peak_memory();
  const std::size_t before = memory_statistics().peak_bytes;
  CHECK_THROWS_WITH(load_model(folder.file("model"), DType::f32),
                    ContainsSubstring("(looks like resnet18 of width 64): expected the tensors of this model"));
  CHECK(memory_statistics().peak_bytes - before < 1'000'000);
}

TEST_CASE("an arena is loaded whole or not at all", "[models]") {
  const Model model({.model = "resnet18", .width = 8, .kernels = 1}, 0);
  const Tensor arena = Tensor::zeros(model.store.values().shape(), DType::f32);
  auto tensors = model.store.state_of(model.store.values());
  model.store.load_state_of(arena, tensors, "FILE");
  CHECK(arena.to_doubles() == model.store.values().to_doubles());
  const Tensor untouched = Tensor::zeros(model.store.values().shape(), DType::f32);
  tensors["fc.bias"] = make_host_tensor(std::vector<std::int32_t>(10), {10});
  CHECK_THROWS_WITH(model.store.load_state_of(untouched, tensors, "FILE"),
                    ContainsSubstring("[checkpoint] FILE: expected optimizer state for fc.bias"));
  for (const double value : untouched.to_doubles()) REQUIRE(value == 0);
}

TEST_CASE("a model takes every temperature that an option can name", "[models]") {
  const Model model({.model = "od_resnet18", .width = 8, .kernels = 1}, 0);
  for (const char* text : {"3.4e38", "2e-38"}) model.set_temperature(parse_temperature(text).end);
  for (const double value : {0.0, 1e-39, 1e39})
    CHECK_THROWS_WITH(model.set_temperature(value), ContainsSubstring("expected a finite temperature above 0"));
}

TEST_CASE("impossible configurations are usage errors", "[models]") {
  CHECK_THROWS_AS(Model({.model = "resnet51"}, 0), UsageError);
  CHECK_THROWS_WITH(Model({.model = "resnet51"}, 0), ContainsSubstring("expected one of resnet18"));
  CHECK_THROWS_WITH(Model({.model = "resnet18", .kernels = 4}, 0), ContainsSubstring("1 kernel for the static model"));
  CHECK_THROWS_WITH(Model({.kernels = 0}, 0), ContainsSubstring("1 to 16 kernels, got 0"));
  CHECK_THROWS_WITH(Model({.width = 20}, 0), ContainsSubstring("multiple of 8, got 20"));
  CHECK_THROWS_WITH(Model({.reduction = 0}, 0), ContainsSubstring("reduction in (0, 1]"));
  CHECK_THROWS_WITH(Model({.classes = 1}, 0), ContainsSubstring("classes, got 1"));
  CHECK_THROWS_WITH(Model({.image_size = 7}, 0), ContainsSubstring("an image size of 8 to 4096, got 7"));
  CHECK_THROWS_WITH(Model({.dropout = 1}, 0), ContainsSubstring("a dropout in [0, 1), got 1"));
  CHECK_THROWS_WITH(Model({.dropout = std::nan("")}, 0), ContainsSubstring("a dropout in [0, 1), got nan"));
  CHECK_THROWS_AS(parse_stem("vgg"), UsageError);
}

}  // namespace
}  // namespace omniconv
