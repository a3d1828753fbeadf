// Choosing on held-out images, series of seeds, configuration files, plans.
#include <cmath>

#include "apps/training/configuration.h"
#include "apps/training/evaluator.h"
#include "apps/training/seeds.h"
#include "models/checkpoint.h"
#include "tests/apps/small_runs.h"
#include "tests/catch.h"

namespace omniconv::test {
namespace {

TEST_CASE("with validation the best epoch is chosen on held-out images and the test set is read at the end") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder, 50, 20);
  TrainOptions options = small_options(data, folder.file("run"));
  options.recipe.epochs = 3;
  options.recipe.validation = 13;
  REQUIRE(train_quietly(options) == 0);
  const auto lines = timeless_metrics(folder.file("run"));
  REQUIRE(lines.size() == 3);
  double best = -1;
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(lines[i].at("step") == 3 * (static_cast<int>(i) + 1));  // 37 images are left, as in other tests
    CHECK(lines[i].at("test_accuracy").is_null() == (i < 2));
    best = std::max<double>(best, lines[i].at("val_accuracy"));
  }
  // The best checkpoint has the best accuracy on the last 13 images, and the test figure is its own.
  const LoadedModel loaded = load_model(folder.file("run/best.safetensors"), DType::f32);
  ImageData images = load_data(data);
  const auto last = images.train.images.end() - 13 * image_bytes;
  const ImageSet held{{last, images.train.images.end()}, {images.train.labels.end() - 13, images.train.labels.end()}};
  CHECK(evaluate(*loaded.model, Dataset(held)).accuracy == best);
  CHECK(evaluate(*loaded.model, Dataset(images.test)).accuracy == lines[2].at("best_test_accuracy").get<double>());
  CHECK(evaluate(*loaded.model, Dataset(images.test)).loss == lines[2].at("best_test_loss").get<double>());

  options.recipe.test_every = 2;
  options.recipe.stratified = true;
  options.out = folder.file("often");
  REQUIRE(train_quietly(options) == 0);
  const auto often = timeless_metrics(folder.file("often"));
  for (std::size_t i = 0; i < 3; ++i) CHECK(often[i].at("test_accuracy").is_null() == (i == 0));
  CHECK(often[0].at("val_loss") != lines[0].at("val_loss"));

  // A run in pieces writes the same lines.
  options.out = folder.file("pieces");
  options.max_steps = 4;
  REQUIRE(train_quietly(options) == 0);
  CHECK(timeless_metrics(folder.file("pieces")).back().at("test_accuracy").is_null());
  REQUIRE(train_quietly(resume_options(folder.file("pieces"))) == 0);
  CHECK(timeless_metrics(folder.file("pieces")) == often);
  CHECK(read_text(folder.file("pieces/best.safetensors")) == read_text(folder.file("often/best.safetensors")));

  options.max_steps.reset();
  options.out = folder.file("none");
  options.recipe.validation = 50;
  CHECK_THAT(message_of<Error>([&] { train_quietly(options); }),
             ContainsSubstring("expected to hold out 1 to 49 of 50"));
  CHECK_FALSE(std::filesystem::exists(folder.file("none")));
}

TEST_CASE("options of selection that contradict each other are refused") {
  const auto refused = [](const std::function<void(Recipe&)>& change) {
    Recipe recipe;
    change(recipe);
    return message_of<UsageError>([&] { check(recipe); });
  };
  CHECK_THAT(refused([](Recipe& r) { r.validation = -1; }), ContainsSubstring("--validation of at least 0"));
  CHECK_THAT(refused([](Recipe& r) { r.stratified = true; }), ContainsSubstring("--validation with --stratified"));
  CHECK_THAT(refused([](Recipe& r) { r.test_every = 2; }), ContainsSubstring("--validation with --test-every"));
  CHECK_THAT(refused([](Recipe& r) { r.validation = 5, r.test_every = -1; }),
             ContainsSubstring("--test-every of at least"));

  const auto series = [](const std::function<void(TrainOptions&)>& change) {
    TrainOptions options;
    options.recipe.data = "synthetic";
    change(options);
    return message_of<UsageError>([&] { check(options); });
  };
  CHECK_THAT(series([](TrainOptions& o) { o.seeds = {1, 1}; }), ContainsSubstring("--seeds that differ"));
  CHECK_THAT(series([](TrainOptions& o) { o.seeds = {-1}; }), ContainsSubstring("--seeds of at least 0, got -1"));
  CHECK_THAT(series([](TrainOptions& o) { o.seeds = {1}, o.given = {"seed"}; }),
             ContainsSubstring("--seed or --seeds"));
  CHECK_THAT(series([](TrainOptions& o) { o.compare = {"x"}; }), ContainsSubstring("--seeds with --compare"));
  CHECK_THAT(series([](TrainOptions& o) { o.seeds = {1}, o.max_steps = 3; }),
             ContainsSubstring("--seeds or --max-steps"));
  CHECK_THAT(series([](TrainOptions& o) { o.dry_run = true, o.seeds = {1}; }), ContainsSubstring("it with --seeds"));
  CHECK_THAT(series([](TrainOptions& o) { o.dry_run = true, o.resume = "x"; }), ContainsSubstring("it with --resume"));
}

TEST_CASE("a series runs every seed, goes on where it stopped, and is compared seed by seed") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), folder.file("a"));
  options.recipe.epochs = 1;
  options.given.insert("data");
  options.seeds = {3, 5};
  options.json = true;
  const TextFile people, machines;
  REQUIRE(train(options, people.stream(), machines.stream()) == 0);
  const auto outcome = nlohmann::json::parse(machines.text());
  REQUIRE(outcome.at("runs").size() == 2);
  const double first = outcome["runs"][0].at("test_accuracy"), second = outcome["runs"][1].at("test_accuracy");
  CHECK(outcome.at("mean_test_accuracy").get<double>() == Approx((first + second) / 2));
  CHECK(outcome.at("standard_deviation").get<double>() ==
        Approx(std::abs(first - second) / std::sqrt(2)).margin(1e-12));
  CHECK_THAT(people.text(), ContainsSubstring("standard deviation"));
  CHECK(read_accuracies(folder.file("a")) == AccuracyBySeed{{3, first}, {5, second}});

  // A single run with the seed is the same run.
  TrainOptions single = options;
  single.seeds.clear();
  single.recipe.seed = 5;
  single.out = folder.file("single");
  REQUIRE(train_quietly(single) == 0);
  CHECK(read_text(folder.file("single/last.safetensors")) == read_text(folder.file("a/seed-5/last.safetensors")));

  // The series without its second run goes on, and leaves the first one alone.
  const std::string whole = read_text(folder.file("a/seed-5/last.safetensors"));
  std::filesystem::remove_all(folder.file("a/seed-5"));
  const auto written = std::filesystem::last_write_time(folder.file("a/seed-3/last.safetensors"));
  options.out.clear();
  options.resume = folder.file("a");
  options.compare = {folder.file("single")};
  const TextFile more_people, more_machines;
  REQUIRE(train(options, more_people.stream(), more_machines.stream()) == 0);
  CHECK(read_text(folder.file("a/seed-5/last.safetensors")) == whole);
  CHECK(std::filesystem::last_write_time(folder.file("a/seed-3/last.safetensors")) == written);
  const auto compared = nlohmann::json::parse(more_machines.text()).at("comparisons").at(0);
  CHECK(compared.at("pairs") == 1);
  CHECK(compared.at("mean_difference") == 0);
  CHECK(compared.at("p_value") == 1);

  // Neither a copy under another name nor an unfinished run of another seed is taken for one of the series.
  std::filesystem::copy(folder.file("a/seed-3"), folder.file("a/seed-3-old"));
  write_text(folder.file("a/seed-3-old/metrics.jsonl"), "");
  CHECK(read_accuracies(folder.file("a")) == AccuracyBySeed{{3, first}, {5, second}});
  single.recipe.seed = 9;
  single.max_steps = 1;
  single.out = folder.file("a/seed-9");
  REQUIRE(train_quietly(single) == 0);
  const std::string unfinished = "expected a finished run, got one after step 1 of 3";
  CHECK_THAT(message_of<Error>([&] { read_accuracies(single.out); }), ContainsSubstring(unfinished));
  CHECK_THAT(message_of<Error>([&] { read_accuracies(folder.file("a")); }), ContainsSubstring(unfinished));
  CHECK(train_quietly(options) == 0);
  std::filesystem::remove_all(single.out);
  std::filesystem::copy(folder.file("a"), folder.file("both"), std::filesystem::copy_options::recursive);
  std::filesystem::copy(folder.file("a/seed-3"), folder.file("both"));
  CHECK_THAT(message_of<Error>([&] { read_accuracies(folder.file("both")); }),
             ContainsSubstring("both/seed-3: expected one run with each seed, got two with 3"));

  const PairedComparison c = compare({{3, first + 0.25}, {5, second + 0.25}, {9, 1}}, folder.file("a"));
  CHECK(c.pairs == 2);
  CHECK(c.mean == Approx(0.25));
  CHECK(c.standard_deviation == Approx(0).margin(1e-12));
  CHECK(c.p_value == 0.5);
  CHECK_THAT(message_of<Error>([&] {
               compare({{9, 1}}, folder.file("a"));
             }),
             ContainsSubstring("runs with a seed of this"));
  CHECK_THAT(message_of<Error>([&] { read_accuracies(folder.file("b")); }), ContainsSubstring("got no such folder"));
  CHECK_THAT(message_of<Error>([&] { read_accuracies(folder.file("data")); }),
             ContainsSubstring("without config.json"));
  options.compare = {folder.file("b")};
  CHECK_THAT(message_of<Error>([&] { train_quietly(options); }), ContainsSubstring("got no such folder"));
}

TEST_CASE("a series whose weights or options come from files goes on as its own message says") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  TrainOptions options = small_options(data, folder.file("first"));
  options.recipe.epochs = 1;
  REQUIRE(train_quietly(options) == 0);
  const std::string weights = folder.file("first/last.safetensors");
  options.out = folder.file("a");
  options.recipe.init = weights;
  options.given = {"data", "epochs", "kernels", "width", "init"};
  options.seeds = {3, 5};
  REQUIRE(train_quietly(options) == 0);
  const std::string whole = read_text(folder.file("a/seed-5/last.safetensors"));
  const auto without_second = [&] { std::filesystem::remove_all(folder.file("a/seed-5")); };

  without_second();
  options.out.clear();
  options.resume = folder.file("a");
  REQUIRE(train_quietly(options) == 0);
  CHECK(read_text(folder.file("a/seed-5/last.safetensors")) == whole);

  TrainOptions configured = resume_options(folder.file("a"));
  configured.config = folder.file("copy.json");
  configured.seeds = options.seeds;
  std::filesystem::copy(folder.file("a/seed-3/config.json"), configured.config);
  without_second();
  REQUIRE(train_quietly(configured) == 0);
  CHECK(read_text(folder.file("a/seed-5/last.safetensors")) == whole);

  // A run that is still to start must not differ from the others in what nobody would notice.
  without_second();
  options.recipe.init.clear();
  options.given.erase("init");
  CHECK_THAT(message_of<UsageError>([&] { train_quietly(options); }),
             StartsWith("[resume] ") && ContainsSubstring("/a/seed-5: expected the options that the series began with, "
                                                          "got --init none instead of " + weights));
  CHECK_FALSE(std::filesystem::exists(folder.file("a/seed-5")));
}

/// Makes a folder the one that relative paths begin in, as long as it lives.
class InFolder {
 public:
  explicit InFolder(const std::filesystem::path& path) : before_(std::filesystem::current_path()) {
    std::filesystem::current_path(path);
  }
  ~InFolder() { std::filesystem::current_path(before_); }

 private:
  std::filesystem::path before_;
};

TEST_CASE("a series without --out is named after the model that it trains, wherever that was named") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), "");
  options.config = folder.file("model.json");
  write_text(options.config, R"({"model": "resnet18"})");
  options.given.clear();
  options.recipe.epochs = 1;
  options.seeds = {7};
  const InFolder in(folder.path());
  REQUIRE(train_quietly(options) == 0);
  CHECK(std::filesystem::exists("runs/resnet18-1/seed-7/last.safetensors"));
}

TEST_CASE("config.json of a run repeats it, and options are stronger than the file, the file than a preset") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), folder.file("a"));
  options.recipe.label_smoothing = 0.2;
  options.recipe.no_decay = {"bn"};
  REQUIRE(train_quietly(options) == 0);
  TrainOptions again;
  again.config = folder.file("a/config.json");
  again.out = folder.file("b");
  REQUIRE(train_quietly(again) == 0);
  CHECK(read_text(folder.file("a/config.json")) == read_text(folder.file("b/config.json")));
  CHECK(read_text(folder.file("a/last.safetensors")) == read_text(folder.file("b/last.safetensors")));

  TrainOptions layered;
  layered.config = folder.file("a/config.json");
  layered.preset = "strong";
  layered.recipe.epochs = 1;
  layered.given = {"epochs"};
  apply_configuration(layered, nullptr);
  CHECK(layered.recipe.epochs == 1);
  CHECK(layered.recipe.label_smoothing == 0.2);
  write_text(folder.file("part.json"), R"({"lr": 0.25, "label_smoothing": 0})");
  TrainOptions part;
  part.config = folder.file("part.json");
  part.preset = "strong";
  apply_configuration(part, nullptr);
  CHECK(part.recipe.lr == 0.25);
  CHECK(part.recipe.label_smoothing == 0);
  CHECK(part.recipe.nesterov);
  CHECK(part.given.contains("lr"));

  // What the file leaves open follows from the model that it names.
  write_text(folder.file("model.json"), R"({"model": "resnet18", "stem": "imagenet", "dropout": 0.25})");
  TrainOptions other;
  other.config = folder.file("model.json");
  apply_configuration(other, nullptr);
  CHECK(other.recipe.model.kernels == 1);
  CHECK(other.recipe.model.image_size == 224);
  CHECK(other.recipe.model.dropout == 0.25);

  const auto fault = [&](const char* text) {
    write_text(folder.file("bad.json"), text);
    TrainOptions bad;
    bad.config = folder.file("bad.json");
    return message_of<Error>([&] { apply_configuration(bad, nullptr); });
  };
  CHECK_THAT(fault("[1]"), ContainsSubstring("bad.json: expected an object"));
  CHECK_THAT(fault(R"({"learning_rate": 1})"), ContainsSubstring("got \"learning_rate\""));
  CHECK_THAT(fault(R"({"epochs": "many"})"), ContainsSubstring("bad.json"));
  CHECK_THAT(fault(R"({"inflate_noise": "much"})"), ContainsSubstring("bad.json"));
  CHECK_THAT(fault(R"({"program": "other"})"), ContainsSubstring("another program's"));
  part.preset = "weak";
  CHECK_THAT(message_of<UsageError>([&] { apply_configuration(part, nullptr); }),
             ContainsSubstring("expected --recipe article, strong, fast, got \"weak\""));
  for (const std::string& name : recipe_presets()) {
    TrainOptions preset;
    preset.preset = name;
    preset.recipe.data = "synthetic";
    apply_configuration(preset, nullptr);
    check(preset);
  }
}

TEST_CASE("what would have no effect is refused where the call or a file by hand names it, and nowhere else") {
  const TemporaryFolder folder;
  const auto outcome = [](const TrainOptions& options) {
    TrainOptions copy = options;
    return message_of<Error>([&] { apply_configuration(copy, nullptr); });
  };
  TrainOptions options;
  options.recipe.model = default_config("resnet18", Stem::cifar);
  options.given = {"model"};
  for (const std::string& name : recipe_presets()) {
    options.preset = name;
    CHECK(outcome(options) == "no error");
  }
  options.config = folder.file("config.json");
  write_text(options.config, R"({"attention_norm": "layer"})");
  CHECK_THAT(outcome(options), ContainsSubstring("a dynamic model with --attention-norm, got the static resnet18"));
  write_text(options.config, R"({"lr_factor": 0.5})");
  CHECK_THAT(outcome(options), ContainsSubstring("--lr-schedule step with --lr-factor, got cosine"));
  write_text(options.config, R"({"program": "omniconv train", "lr_factor": 0.5, "attention_norm": "layer"})");
  CHECK(outcome(options) == "no error");
  options.given.insert("attention_norm");
  CHECK_THAT(outcome(options), ContainsSubstring("a dynamic model with --attention-norm"));
}

TEST_CASE("a dry run shows model, memory and schedule, and neither trains nor writes") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder, 64), folder.file("run"));
  options.recipe.batch_size = 16;
  options.stages = "progressive";
  options.recipe.epochs = 4;
  options.dry_run = options.json = true;
  const TextFile people, machines;
  REQUIRE(train(options, people.stream(), machines.stream()) == 0);
  CHECK_FALSE(std::filesystem::exists(folder.file("run")));
  CHECK_THAT(people.text(), ContainsSubstring("layer4.1") && ContainsSubstring("MiB") && ContainsSubstring("joint") &&
                                ContainsSubstring("Nothing was trained or written"));
  const auto plan = nlohmann::json::parse(machines.text());
  CHECK(plan.at("steps_per_epoch") == 4);
  CHECK(plan.at("total_steps") == 16);

  // What a run then uses is about what was announced.
  options.dry_run = false;
  options.recipe.epochs = 3;
  REQUIRE(train_quietly(options) == 0);
  const auto lines = json_lines(read_text(folder.file("run/metrics.jsonl")));
  const double used = lines.back().at("peak_bytes");
  CHECK(plan.at("estimated_peak_bytes").get<double>() > 0.7 * used);
  CHECK(plan.at("estimated_peak_bytes").get<double>() < 1.3 * used);
}

}  // namespace
}  // namespace omniconv::test
