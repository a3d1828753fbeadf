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
  recipe.temperature = {29.5, 1.25, 6};
  recipe.seed = 1234567890123;
  recipe.augment = false;
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

TEST_CASE("words of options are parsed or refused") {
  CHECK(parse_precision("f64") == DType::f64);
  CHECK(parse_precision("bf16") == DType::bf16);
  CHECK(parse_precision("f16") == DType::f16);
  CHECK_THAT(message_of<UsageError>([] { parse_precision("int8"); }),
             ContainsSubstring("f32, bf16, f16 or f64, got \"int8\""));
  CHECK_THROWS_AS(parse_precision("i64"), UsageError);
  CHECK_THAT(message_of<UsageError>([] { parse_downsample("no"); }), ContainsSubstring("odconv or static, got \"no\""));
  CHECK_THAT(message_of<UsageError>([] { parse_learning_rate_schedule("flat"); }),
             ContainsSubstring("cosine or step, got \"flat\""));
  CHECK_THAT(message_of<UsageError>([] { parse_stem("none"); }), ContainsSubstring("cifar or imagenet, got \"none\""));
}

TEST_CASE("the learning rate follows the schedule that the recipe names") {
  Recipe recipe;
  recipe.epochs = 4;
  CHECK(learning_rate_at(recipe, 2) == Approx(0.05));
  recipe.lr_schedule = LearningRateSchedule::step;
  recipe.lr_milestones = {1, 3};
  CHECK(learning_rate_at(recipe, 0) == 0.1);
  CHECK(learning_rate_at(recipe, 3) == Approx(0.001));
}

TEST_CASE("differences name both values, and only of the options that were given") {
  const Recipe run;
  const Recipe asked = unusual_recipe();
  CHECK(differences(asked, run, {}).empty());
  CHECK(differences(asked, run, {"epochs"}) == std::vector<std::string>{"--epochs 17 instead of 200"});
  CHECK(differences(asked, run, {"augment", "nesterov", "weight_decay", "temperature"}) ==
        std::vector<std::string>{"--no-augment on instead of off", "--nesterov on instead of off",
                                 "--temperature 29.5:1.25:6 instead of 30:1:10",
                                 "--weight-decay 3.3333333333333335e-05 instead of 0.0005"});
  CHECK(differences(run, run, {"epochs", "lr"}).empty());
}

}  // namespace
}  // namespace omniconv::test
