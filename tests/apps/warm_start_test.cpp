// Models in ImageNet's form, and runs that start from a static checkpoint.
#include <nlohmann/json.hpp>

#include "apps/training/checkpoint.h"
#include "apps/training/evaluator.h"
#include "engine/files.h"
#include "tests/apps/small_runs.h"
#include "tests/catch.h"

namespace omniconv::test {
namespace {

TrainOptions static_options(const std::string& data, const std::string& out) {
  TrainOptions options = small_options(data, out);
  options.recipe.model.model = "resnet18";
  options.recipe.model.kernels = 1;
  return options;
}

double test_loss(const Model& model, const std::string& data) {
  return evaluate(model, Dataset(load_data(data).test), 20, {}, {}).loss;
}

std::string refusal_of(const TrainOptions& options) {
  return message_of<Error>([&] { train_quietly(options); });
}

TEST_CASE("a run that starts from a static checkpoint inflates it, and says so") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder), source = folder.file("static/last.safetensors");
  REQUIRE(train_quietly(static_options(data, folder.file("static"))) == 0);

  TrainOptions options = small_options(data, folder.file("run"));
  options.recipe.init = source;
  options.recipe.lr = 0;
  options.max_steps = 1;
  const TextFile people, machines;
  REQUIRE(train(options, people.stream(), machines.stream()) == 0);
  CHECK_THAT(people.text(), ContainsSubstring("start    " + source + ", inflated with noise 0.1"));
  const auto config = nlohmann::json::parse(read_text(folder.file("run/config.json")));
  CHECK(config.at("inflate_noise") == 0.1);
  CHECK(config.at("attention_init") == "zero");

  // Before the first step the net is the static one.
  const Checkpoint checkpoint = read_checkpoint(source);
  const LoadedModel fixed = load_model(source, DType::f32);
  ModelConfig dynamic{.model = "od_resnet18", .width = 8, .kernels = 2};
  for (const double noise : {0.0, 0.1}) {
    Model model(dynamic, 1);
    load_weights(checkpoint, model, noise);
    model.set_temperature(3);
    CHECK(test_loss(model, data) == Approx(test_loss(*fixed.model, data)).epsilon(1e-4));
  }

  // A resumed run knows what it started from, and what it was asked for.
  options = resume_options(folder.file("run"));
  options.recipe.inflate_noise = 0.2;
  options.given = {"inflate_noise"};
  CHECK_THAT(refusal_of(options), ContainsSubstring("--inflate-noise 0.2 instead of 0.1"));
  options.recipe.inflate_noise = 0.1;
  const TextFile resumed;
  REQUIRE(train(options, resumed.stream(), machines.stream()) == 0);
  CHECK_THAT(resumed.text(), ContainsSubstring("inflated with noise 0.1"));
}

TEST_CASE("what cannot be inflated is refused with the remedy") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  const auto write = [&](const char* name, const ModelConfig& config) {
    write_safetensors(folder.file(name), model_file(Model(config, 0), 1));
    return folder.file(name);
  };
  const std::string fixed = write("static", {.model = "resnet18", .width = 8, .kernels = 1});
  const std::string dynamic = write("dynamic", {.model = "od_resnet18", .width = 8, .kernels = 2});

  TrainOptions options = small_options(data, folder.file("run"));
  options.recipe.inflate_noise = 0.1;
  CHECK_THAT(refusal_of(options), ContainsSubstring("[options] expected --inflate-noise with --init"));
  options.recipe.init = dynamic;
  CHECK_THAT(refusal_of(options),
             ContainsSubstring("with a dynamic model and --init of a static one, got od_resnet18 and "
                               "od_resnet18"));
  options.recipe.init = fixed;
  options.recipe.inflate_noise = -1;
  CHECK_THAT(refusal_of(options), ContainsSubstring("a finite --inflate-noise of at least 0, got -1"));
  options.recipe.inflate_noise.reset();
  options.given.insert("attention_init");
  CHECK_THAT(refusal_of(options), ContainsSubstring("expected --attention-init zero with --init of a static model, got "
                                                    "kaiming"));
  options.given.erase("attention_init");
  options.recipe.init = write("wide", {.model = "resnet34", .width = 16, .kernels = 1, .stem = Stem::imagenet});
  CHECK_THAT(refusal_of(options),
             ContainsSubstring("expected resnet18, width 8, got a file that looks like resnet34, width 16, ImageNet's "
                               "stem") &&
                 ContainsSubstring("give --model od_resnet34 --stem imagenet --width 16 or another file"));
  options = static_options(data, folder.file("run"));
  options.recipe.init = dynamic;
  CHECK_THAT(refusal_of(options),
             ContainsSubstring("expected resnet18, width 8, got a file that looks like od_resnet18"));
  CHECK_FALSE(std::filesystem::exists(folder.file("run")));
}

TEST_CASE("classes and image size come from the data, and a contradiction is refused") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), folder.file("run"));
  options.recipe.model.classes = 100;
  options.given.insert("classes");
  CHECK_THAT(refusal_of(options), ContainsSubstring("[options] expected --classes 10, as the data have it, got 100"));
  options.given.erase("classes");
  options.recipe.model.image_size = 224;
  options.given.insert("image_size");
  CHECK_THAT(refusal_of(options),
             ContainsSubstring("[options] expected --image-size 32, as the data have it, got 224"));
  CHECK_FALSE(std::filesystem::exists(folder.file("run")));
}

TEST_CASE("a run with dropout and ImageNet's stem stops and goes on as if it had not stopped") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  TrainOptions whole = small_options(data, folder.file("whole"));
  whole.recipe.model.stem = Stem::imagenet;
  whole.recipe.model.dropout = 0.5;
  REQUIRE(train_quietly(whole) == 0);
  TrainOptions pieces = whole;
  pieces.out = folder.file("pieces");
  pieces.max_steps = 4;
  REQUIRE(train_quietly(pieces) == 0);
  REQUIRE(train_quietly(resume_options(folder.file("pieces"))) == 0);
  for (const char* name : {"last.safetensors", "resume.safetensors"})
    CHECK(read_text(folder.file("whole/") + name) == read_text(folder.file("pieces/") + name));

  TrainOptions without = whole;
  without.out = folder.file("without");
  without.recipe.model.dropout = 0;
  REQUIRE(train_quietly(without) == 0);
  CHECK(timeless_metrics(folder.file("without")).front().at("train_loss") !=
        timeless_metrics(folder.file("whole")).front().at("train_loss"));
}

}  // namespace
}  // namespace omniconv::test
