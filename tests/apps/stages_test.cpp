// Runs in stages: the list itself, and what each stage trains.
#include "apps/training/stages.h"

#include <nlohmann/json.hpp>

#include "apps/training/configuration.h"
#include "apps/training/evaluator.h"
#include "apps/training/recipe.h"
#include "layers/od_conv.h"
#include "models/checkpoint.h"
#include "tests/apps/small_runs.h"
#include "tests/catch.h"

namespace omniconv::test {
namespace {

std::string refusal(const char* text) {
  return message_of<UsageError>([&] { check(stages_from_json(nlohmann::json::parse(text))); });
}

TEST_CASE("stages survive the way through JSON, and what is no stage is refused") {
  const std::vector<Stage> stages = {{"a", 2, TrainedPart::weights, {neutral_temperature, neutral_temperature, 0}, 1},
                                     {"b", 3, TrainedPart::attention, {9, 2, 3, TemperatureShape::cosine}, 0.5}};
  CHECK(stages_from_json(nlohmann::json::parse(to_json(stages).dump())) == stages);
  CHECK(to_json(stages)[0].at("temperature") == "neutral");
  CHECK(stages_from_json(nlohmann::json::parse(R"([{"name": "x", "epochs": 1, "temperature": 2.5}])")) ==
        std::vector<Stage>{{"x", 1, TrainedPart::all, {2.5, 2.5, 0}, 1}});
  CHECK_THAT(refusal("{}"), ContainsSubstring("a list of stages, got {}"));
  CHECK_THAT(refusal("[3]"), ContainsSubstring("an object for each stage, got 3"));
  CHECK_THAT(refusal(R"([{"name": "a", "epochs": 1}])"), ContainsSubstring("temperature"));
  CHECK_THAT(refusal(R"([{"name": "a", "epochs": 1.5, "temperature": 1}])"), ContainsSubstring("a whole number"));
  CHECK_THAT(refusal(R"([{"name": "a", "epochs": 0, "temperature": 1}])"), ContainsSubstring("got 0"));
  CHECK_THAT(refusal(R"([{"name": "a", "epochs": 1, "temperature": 0}])"), ContainsSubstring("[temperature]"));
  CHECK_THAT(refusal(R"([{"name": "a", "epochs": 1, "temperature": 1, "train": "bn"}])"),
             ContainsSubstring("all, weights or attention, got \"bn\""));
  CHECK_THAT(refusal(R"([{"name": "a", "epochs": 1, "temperature": 1, "lr": 2}])"), ContainsSubstring("got \"lr\""));
  CHECK_THAT(refusal(R"([{"name": "a", "epochs": 1, "temperature": 1, "lr_factor": -1}])"),
             ContainsSubstring("got -1"));
  CHECK_THAT(refusal(R"([{"name": "a", "epochs": 1, "temperature": 1}, {"name": "a", "epochs": 1, "temperature": 1}])"),
             ContainsSubstring("stages of different names"));
  CHECK_THAT(refusal(R"([{"name": "a\u001b[31m", "epochs": 1, "temperature": 1}])"),
             ContainsSubstring(R"(names of stages without control characters, got "a\x1b[31m")"));

  const TemporaryFolder folder;
  write_text(folder.file("s.json"), "[{");
  CHECK_THAT(message_of<Error>([&] { read_stages(folder.file("s.json")); }),
             StartsWith("[stages] " + folder.file("s.json") + ": expected stages of a run"));
  write_text(folder.file("s.json"), "[]");
  CHECK_THAT(message_of<Error>([&] { read_stages(folder.file("s.json")); }), ContainsSubstring("got an empty list"));
}

TEST_CASE("the progressive preset has three stages over all epochs") {
  const std::vector<Stage> stages = progressive_stages(11, {30, 1, 10});
  REQUIRE(stages.size() == 3);
  CHECK(epochs_of(stages) == 11);
  CHECK(stages[0] == Stage{"neutral", 2, TrainedPart::weights, {neutral_temperature, neutral_temperature, 0}, 1});
  CHECK(stages[1] == Stage{"joint", 7, TrainedPart::all, {30, 30, 0}, 1});
  CHECK(stages[2] == Stage{"attention", 2, TrainedPart::attention, {30, 1, 2}, 1});
  CHECK(epochs_of(progressive_stages(3, {4, 4, 0})) == 3);
  CHECK_THAT(message_of<UsageError>([] {
               progressive_stages(2, {30, 1, 10});
             }),
             ContainsSubstring("at least 3 --epochs"));
}

TEST_CASE("a step's stage decides its temperature and its learning rate") {
  Recipe recipe;
  recipe.epochs = 6;
  recipe.stages = {{"a", 2, TrainedPart::all, {7, 7, 0}, 1}, {"b", 4, TrainedPart::all, {9, 1, 2}, 0.5}};
  CHECK(temperature_at(recipe, 19, 10) == 7);
  CHECK(temperature_at(recipe, 20, 10) == 9);
  CHECK(temperature_at(recipe, 30, 10) == 5);
  CHECK(temperature_at(recipe, 59, 10) == 1);
  Recipe plain = recipe;
  plain.stages.clear();
  CHECK(learning_rate_at(recipe, 19, 10) == learning_rate_at(plain, 19, 10));
  CHECK(learning_rate_at(recipe, 20, 10) == learning_rate_at(plain, 20, 10) / 2);
  CHECK(stage_of(recipe, 60, 10)->name == "b");
  CHECK(stage_of(plain, 0, 10) == nullptr);

  const auto refused = [](const Recipe& r) { return message_of<UsageError>([&] { check(r); }); };
  CHECK(refused(recipe) == "no error");
  recipe.epochs = 7;
  CHECK_THAT(refused(recipe), ContainsSubstring("--epochs of 6, as the stages have in all, got 7"));
  recipe.epochs = 6;
  recipe.model.model = "resnet18";
  recipe.model.kernels = 1;
  CHECK(refused(recipe) == "no error");
  recipe.stages[0].train = TrainedPart::weights;
  CHECK_THAT(refused(recipe), ContainsSubstring("got weights in stage a of resnet18"));
}

/// Which parts of the weights differ between two checkpoints: the attention's parameters, and the others.
std::pair<bool, bool> changes(const std::string& a, const std::string& b) {
  const auto before = read_safetensors(a).tensors, after = read_safetensors(b).tensors;
  bool attention = false, others = false;
  for (const auto& [name, tensor] : before) {
    if (name.find("running_") != std::string::npos || name.find("num_batches") != std::string::npos) continue;
    const bool changed = tensor != after.at(name);
    (name.find(".attention.") != std::string::npos ? attention : others) |= changed;
  }
  return {attention, others};
}

TEST_CASE("each stage trains its part alone, at its temperature, and is in metrics and checkpoint") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), folder.file("run"));
  options.recipe.epochs = 3;
  options.recipe.temperature = {4, 2, 1};
  options.stages = "progressive";
  options.max_steps = 3;
  REQUIRE(train_quietly(options) == 0);
  std::filesystem::copy(folder.file("run/last.safetensors"), folder.file("neutral.safetensors"));

  // Neutral: the net does not see its attention, whatever the logits.
  const LoadedModel loaded = load_model(folder.file("neutral.safetensors"), DType::f32);
  CHECK(loaded.temperature == neutral_temperature);
  CHECK(read_safetensors(folder.file("neutral.safetensors")).metadata.at("stage") == "neutral");
  Model other(loaded.model->config, 99);
  SafetensorsFile first{other.store.state(), {}};
  write_safetensors(folder.file("other.safetensors"), first);

  TrainOptions next = resume_options(folder.file("run"));
  next.max_steps = 6;
  REQUIRE(train_quietly(next) == 0);
  std::filesystem::copy(folder.file("run/last.safetensors"), folder.file("joint.safetensors"));
  REQUIRE(train_quietly(resume_options(folder.file("run"))) == 0);

  const Model initial(loaded.model->config, 0);
  write_safetensors(folder.file("initial.safetensors"), model_file(initial, 1));
  CHECK(changes(folder.file("initial.safetensors"), folder.file("neutral.safetensors")) == std::pair(false, true));
  CHECK(changes(folder.file("neutral.safetensors"), folder.file("joint.safetensors")) == std::pair(true, true));
  CHECK(changes(folder.file("joint.safetensors"), folder.file("run/last.safetensors")) == std::pair(true, false));
  const auto lines = timeless_metrics(folder.file("run"));
  REQUIRE(lines.size() == 3);
  CHECK(lines[0].at("stage") == "neutral");
  CHECK(lines[1].at("stage") == "joint");
  CHECK(lines[1].at("temperature") == 4);
  CHECK(lines[2].at("stage") == "attention");

  // A run that was not interrupted ends in the same bytes, and --stages may be restated.
  options.out = folder.file("whole");
  options.max_steps.reset();
  REQUIRE(train_quietly(options) == 0);
  for (const char* name : {"/last.safetensors", "/best.safetensors", "/resume.safetensors"})
    CHECK(read_text(folder.file("whole") + name) == read_text(folder.file("run") + name));
  TrainOptions again = resume_options(folder.file("run"));
  again.stages = "progressive";
  CHECK(train_quietly(again) == 0);
  again.given = {"epochs"};
  again.recipe.epochs = 4;
  CHECK_THAT(message_of<UsageError>([&] { train_quietly(again); }), ContainsSubstring("--epochs 4 instead of 3"));
}

TEST_CASE("the progressive preset starts heads at zero and falls harmonically, unless the call says otherwise") {
  TrainOptions options;
  options.recipe.data = "synthetic";
  options.recipe.epochs = 8;
  options.stages = "progressive";
  TrainOptions named = options;
  apply_configuration(options, nullptr);
  CHECK(options.recipe.model.attention_init == AttentionInit::zero);
  CHECK(options.recipe.stages[1].temperature == TemperatureSchedule{4, 4, 0});
  CHECK(options.recipe.stages[2].temperature == TemperatureSchedule{4, 1, 2, TemperatureShape::harmonic});

  named.given = {"attention_init", "temperature"};
  named.recipe.temperature = {30, 5, 3};
  apply_configuration(named, nullptr);
  CHECK(named.recipe.model.attention_init == AttentionInit::kaiming);
  CHECK(named.recipe.stages[2].temperature == TemperatureSchedule{30, 5, 2});
}

TEST_CASE("a neutral temperature makes every attention neutral to the last bit") {
  const TemporaryFolder folder;
  ModelConfig config;
  config.width = 8;
  config.kernels = 3;
  const Model model(config, 1);
  model.set_temperature(neutral_temperature);
  ModelConfig zero = config;
  zero.attention_init = AttentionInit::zero;
  const Model neutral(zero, 1);  // the same weights, all logits 0
  const Dataset test(make_synthetic(1, 5, 8).test);
  const Tensor a = Tensor::empty({8, 10}, DType::f32), b = Tensor::empty({8, 10}, DType::f32);
  evaluate(model, test, 8, a);
  evaluate(neutral, test, 8, b);
  CHECK(a.to_doubles() == b.to_doubles());
}

TEST_CASE("stages of a file give the epochs and refuse a second temperature") {
  const TemporaryFolder folder;
  const std::string file = folder.file("stages.json");
  write_text(file, R"([{"name": "one", "epochs": 1, "temperature": 2},
                       {"name": "two", "epochs": 1, "temperature": "2:1:1:harmonic", "lr_factor": 0.1}])");
  TrainOptions options = small_options(write_small_data(folder), folder.file("run"));
  options.recipe.epochs = 200;
  options.stages = file;
  options.max_steps = 4;
  REQUIRE(train_quietly(options) == 0);
  CHECK(timeless_metrics(folder.file("run")).back().at("stage") == "two");
  const auto config = nlohmann::json::parse(read_text(folder.file("run/config.json")));
  CHECK(config.at("epochs") == 2);
  CHECK(config.at("stages").size() == 2);
  options.given.insert("temperature");
  CHECK_THAT(message_of<UsageError>([&] { train_quietly(options); }), ContainsSubstring("got --temperature as well"));
}

}  // namespace
}  // namespace omniconv::test
