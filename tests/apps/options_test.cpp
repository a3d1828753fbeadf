// Recipes: their JSON, what they refuse, what a resumed run compares.
#include "apps/training/options.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

Recipe unusual_recipe() {
  Recipe recipe;
  recipe.data = "/data/set";
  recipe.init = "/weights.safetensors";
  recipe.inflate_noise = 0.2 / 3;
  recipe.model = {"od_resnet34",  24, 3,      0.1, Downsample::fixed, 7, AttentionNorm::frozen, AttentionInit::zero,
                  Stem::imagenet, 64, 0.1 / 3};
  recipe.epochs = 17;
  recipe.batch_size = 33;
  recipe.lr = 0.1 + 1e-17;
  recipe.lr_schedule = LearningRateSchedule::step;
  recipe.lr_milestones = {3, 9};
  recipe.lr_factor = 1.0 / 3;
  recipe.momentum = 0.7;
  recipe.weight_decay = 1e-4 / 3;
  recipe.nesterov = true;
  recipe.warmup = 2;
  recipe.label_smoothing = 0.1;
  recipe.clip_norm = 2.5;
  recipe.no_decay = {"bn", "bias"};
  recipe.ema = 0.999;
  recipe.accumulate = 3;
  recipe.temperature_guard = true;
  recipe.temperature = {29.5, 1.25, 6, TemperatureShape::harmonic};
  recipe.seed = 1234567890123;
  recipe.flip = kernels::Flip::alternating;
  recipe.cutout = 8;
  recipe.mixing = {0.2, 1};
  recipe.shuffle = false;
  recipe.precision = DType::f64;
  return recipe;
}

std::string refusal(const Recipe& recipe) {
  return message_of<UsageError>([&] { check(recipe); });
}

TEST_CASE("a recipe survives the way through JSON text") {
  for (const Recipe& recipe : {Recipe{}, unusual_recipe()}) {
    const std::string text = to_json(recipe).dump();
    CHECK(recipe_from_json(nlohmann::json::parse(text), "config.json") == recipe);
  }
}

TEST_CASE("JSON that is no recipe is refused with the file's name and the reason") {
  nlohmann::json json = to_json(Recipe{});
  json.erase("momentum");
  CHECK_THAT(
      message_of<Error>([&] { recipe_from_json(json, "a/config.json"); }),
      StartsWith("[config] a/config.json: expected the configuration of a run") && ContainsSubstring("momentum"));
  json = to_json(Recipe{});
  json["epochs"] = 0;
  CHECK_THAT(message_of<Error>([&] { recipe_from_json(json, "a"); }), ContainsSubstring("--epochs of 1 to"));
  for (const nlohmann::json& wrong : {nlohmann::json(2.5), nlohmann::json(true), nlohmann::json("2")}) {
    json["epochs"] = wrong;
    CHECK_THAT(message_of<Error>([&] { recipe_from_json(json, "a"); }), StartsWith("[config] a: expected"));
  }
  json = to_json(Recipe{});
  json["lr_schedule"] = "step";
  json["lr_milestones"] = {100, 150.5};
  CHECK_THAT(message_of<Error>([&] { recipe_from_json(json, "a"); }),
             ContainsSubstring("another type of value for lr_milestones, got [100,150.5]"));
  json["lr_milestones"] = {100, 150};
  CHECK(recipe_from_json(json, "a").lr_milestones == std::vector<std::int64_t>{100, 150});
}

TEST_CASE("a usual recipe and an unusual one are accepted") {
  CHECK(refusal({}) == "no error");
  CHECK(refusal(unusual_recipe()) == "no error");
}

TEST_CASE("impossible values are refused by name") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  struct Case {
    std::function<void(Recipe&)> change;
    const char* message;
  };
  const Case cases[] = {
      {[](Recipe& r) { r.model.kernels = 0; }, "1 to 16 kernels, got 0"},
      {[](Recipe& r) { r.model.model = "resnet18"; }, "1 kernel for the static model resnet18, got 4"},
      {[](Recipe& r) { r.model.model = "vgg"; }, "expected one of"},
      {[](Recipe& r) { r.model.width = 12; }, "a width that is a multiple of 8, got 12"},
      {[](Recipe& r) { r.epochs = 0; }, "--epochs of 1 to 1000000, got 0"},
      {[](Recipe& r) { r.batch_size = 0; }, "--batch-size of 1 to 1000000, got 0"},
      {[](Recipe& r) { r.batch_size = 1; }, "larger batch or --attention-norm layer"},
      {[](Recipe& r) { r.lr = -1; }, "a finite --lr of at least 0, got -1"},
      {[=](Recipe& r) { r.lr = nan; }, "a finite --lr of at least 0, got nan"},
      {[](Recipe& r) { r.momentum = 1; }, "--momentum in [0, 1), got 1"},
      {[=](Recipe& r) { r.momentum = nan; }, "--momentum in [0, 1), got nan"},
      {[](Recipe& r) { r.weight_decay = -1e-9; }, "a finite --weight-decay of at least 0, got -1e-09"},
      {[](Recipe& r) { r.momentum = 0, r.nesterov = true; }, "--momentum above 0 with --nesterov, got 0"},
      {[](Recipe& r) { r.warmup = 200; }, "--warmup of at least 0 and below the 200 epochs, got 200"},
      {[](Recipe& r) { r.warmup = -1; }, "got -1"},
      {[](Recipe& r) { r.label_smoothing = 1; }, "--label-smoothing in [0, 1), got 1"},
      {[=](Recipe& r) { r.label_smoothing = nan; }, "--label-smoothing in [0, 1), got nan"},
      {[](Recipe& r) { r.clip_norm = -1; }, "a finite --clip-norm of at least 0, got -1"},
      {[=](Recipe& r) { r.clip_norm = nan; }, "a finite --clip-norm of at least 0, got nan"},
      {[](Recipe& r) {
         r.no_decay = {"bn", "weights"};
       },
       "--no-decay bn, bias or bn,bias, got \"weights\""},
      {[](Recipe& r) {
         r.no_decay = {"bn", "bn"};
       },
       "got \"bn\" twice"},
      {[](Recipe& r) { r.ema = 1; }, "--ema in [0, 1), got 1"},
      {[](Recipe& r) {
         r.temperature_guard = true, r.temperature = {4, 4, 0};
       },
       "--temperature-guard with an attention and a temperature that changes, got od_resnet18 at 4"},
      {[](Recipe& r) { r.temperature_guard = true, r.epochs = 3, r.stages = progressive_stages(3, {}); },
       "--temperature-guard or --stages, got both"},
      {[](Recipe& r) { r.accumulate = 0; }, "--accumulate of 1 to the batch size of 128, got 0"},
      {[](Recipe& r) { r.accumulate = 129; }, "--accumulate of 1 to the batch size of 128, got 129"},
      {[](Recipe& r) { r.accumulate = 65; }, "parts of at least 2 images with --accumulate, got 65 parts of 128"},
      {[](Recipe& r) { r.cutout = -1; }, "--cutout of at least 0, got -1"},
      {[](Recipe& r) { r.mixing.mixup = -0.1; }, "--mixup in [0, 4], got -0.1"},
      {[=](Recipe& r) { r.mixing.cutmix = nan; }, "--cutmix in [0, 4], got nan"},
      {[](Recipe& r) { r.augment = false, r.cutout = 8; }, "--no-augment without --cutout"},
      {[](Recipe& r) { r.augment = false, r.mixing.mixup = 1; }, "--no-augment without --cutout, --mixup"},
      {[](Recipe& r) { r.augment = false, r.flip = kernels::Flip::alternating; }, "--no-augment without"},
      {[](Recipe& r) { r.seed = -1; }, "--seed of at least 0, got -1"},
      {[](Recipe& r) { r.lr_factor = 0; }, "a finite --lr-factor above 0, got 0"},
      {[](Recipe& r) { r.lr_milestones = {1}; }, "got --lr-schedule cosine with them"},
      {[](Recipe& r) { r.lr_schedule = LearningRateSchedule::step; }, "got --lr-schedule step without them"},
      {[](Recipe& r) { r.lr_schedule = LearningRateSchedule::step, r.lr_milestones = {0}; }, "at least 1, got 0"},
  };
  for (const Case& c : cases) {
    Recipe recipe;
    c.change(recipe);
    INFO(c.message);
    CHECK_THAT(refusal(recipe), ContainsSubstring(c.message));
  }
}

TEST_CASE("a batch of one is fine where no batch norm averages over the batch alone") {
  Recipe recipe;
  recipe.batch_size = 1;
  recipe.model.attention_norm = AttentionNorm::frozen;
  CHECK(refusal(recipe) == "no error");
  recipe.model.attention_norm = AttentionNorm::batch;
  recipe.model.model = "resnet18";
  recipe.model.kernels = 1;
  CHECK(refusal(recipe) == "no error");
}

TEST_CASE("contradictory and impossible calls are refused") {
  const auto refused = [](const TrainOptions& options) { return message_of<UsageError>([&] { check(options); }); };
  TrainOptions options;
  CHECK_THAT(refused(options), ContainsSubstring("expected --data"));
  options.recipe.data = "synthetic";
  CHECK(refused(options) == "no error");
  options.threads = 0;
  CHECK_THAT(refused(options), ContainsSubstring("--threads of 1 to 1024, got 0"));
  options.threads = 1;
  options.max_steps = 0;
  CHECK_THAT(refused(options), ContainsSubstring("--max-steps of at least 1, got 0"));
  options.max_steps = 1;
  options.resume = "runs/a";
  options.out = "runs/b";
  CHECK_THAT(refused(options), ContainsSubstring("--resume without --out, got --out runs/b"));
  options.out = "runs/./a/";
  CHECK(refused(options) == "no error");
  options.given.insert("init");
  CHECK_THAT(refused(options), ContainsSubstring("--init or --resume, got both"));
}

TEST_CASE("options that a call names, and that would have no effect, are refused") {
  const auto refused = [](const std::set<std::string>& named, const std::function<void(Recipe&)>& change) {
    Recipe recipe;
    change(recipe);
    return message_of<UsageError>([&] { check_uses(named, recipe); });
  };
  const auto make_static = [](Recipe& r) { r.model.model = "resnet18"; };
  for (const auto& [key, option] : {std::pair("reduction", "--reduction"),
                                    {"downsample", "--downsample"},
                                    {"attention_norm", "--attention-norm"}}) {
    CHECK(refused({"model", key}, make_static) ==
          concat("[options] expected a dynamic model with ", option, ", got the static resnet18"));
    CHECK(refused({key}, [](Recipe&) {}) == "no error");
  }
  // Twins are trained by one command line.
  CHECK(refused({"model", "temperature", "attention_init"}, make_static) == "no error");
  CHECK(refused({"lr_factor"}, [](Recipe&) {}) == "[options] expected --lr-schedule step with --lr-factor, got cosine");
  CHECK(refused({"lr_factor"}, [](Recipe& r) { r.lr_schedule = LearningRateSchedule::step; }) == "no error");
  CHECK(refused({"flip", "augment"}, [](Recipe& r) { r.augment = false; }) ==
        "[options] expected --no-augment without --flip random, got both");
  CHECK(refused({"flip", "augment"}, [](Recipe& r) { r.augment = false, r.flip = kernels::Flip::never; }) ==
        "no error");
  // What nobody named came from a preset or a default, and is there for every model.
  CHECK(refused({"model"}, make_static) == "no error");
}

TEST_CASE("words of options are parsed or refused") {
  CHECK(parse_precision("f64") == DType::f64);
  CHECK(parse_precision("bf16") == DType::bf16);
  CHECK(parse_precision("f16") == DType::f16);
  CHECK_THAT(message_of<UsageError>([] { parse_precision("int8"); }),
             ContainsSubstring("f32, bf16, f16 or f64, got \"int8\""));
  CHECK_THROWS_AS(parse_precision("i64"), UsageError);
  CHECK_THAT(message_of<UsageError>([] { parse_flip("up"); }),
             ContainsSubstring("--flip random, alternating or never, got \"up\""));
  for (const char* flip : {"random", "alternating", "never"}) CHECK(name_of(parse_flip(flip)) == flip);
  CHECK_THAT(message_of<UsageError>([] { parse_downsample("no"); }), ContainsSubstring("odconv or static, got \"no\""));
  CHECK_THAT(message_of<UsageError>([] { parse_learning_rate_schedule("flat"); }),
             ContainsSubstring("cosine or step, got \"flat\""));
  CHECK_THAT(message_of<UsageError>([] { parse_stem("none"); }), ContainsSubstring("cifar or imagenet, got \"none\""));
}

TEST_CASE("the learning rate follows the schedule that the recipe names") {
  Recipe recipe;
  recipe.epochs = 4;
  CHECK(learning_rate_at(recipe, 20, 10) == Approx(0.05));
  CHECK(learning_rate_at(recipe, 29, 10) == Approx(0.05));
  recipe.warmup = 2;
  CHECK(learning_rate_at(recipe, 0, 10) == Approx(0.1 / 20));
  CHECK(learning_rate_at(recipe, 9, 10) == Approx(0.1 * 10 / 20));
  CHECK(learning_rate_at(recipe, 10, 10) == Approx(0.1 * 0.85355339 * 11 / 20));
  CHECK(learning_rate_at(recipe, 20, 10) == Approx(0.05));
  recipe.warmup = 0;
  recipe.lr_schedule = LearningRateSchedule::step;
  recipe.lr_milestones = {1, 3};
  CHECK(learning_rate_at(recipe, 0, 10) == 0.1);
  CHECK(learning_rate_at(recipe, 30, 10) == Approx(0.001));
}

TEST_CASE("differences name both values, and only of the options that were given") {
  const Recipe run;
  const Recipe asked = unusual_recipe();
  CHECK(differences(asked, run, {}).empty());
  CHECK(differences(asked, run, {"epochs"}) == std::vector<std::string>{"--epochs 17 instead of 200"});
  CHECK(differences(asked, run, {"shuffle", "nesterov", "weight_decay", "temperature"}) ==
        std::vector<std::string>{"--nesterov on instead of off", "--no-shuffle on instead of off",
                                 "--temperature 29.5:1.25:6:harmonic instead of 30:1:10",
                                 "--weight-decay 3.3333333333333335e-05 instead of 0.0005"});
  CHECK(differences(run, run, {"epochs", "lr"}).empty());
}

}  // namespace
}  // namespace omniconv::test
