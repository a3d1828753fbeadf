// Whole runs in this process: equal bytes, interruptions, the evaluator, the order of the images.
#include <cmath>
#include <csignal>
#include <functional>
#include <numeric>
#include <set>

#include "apps/training/evaluator.h"
#include "apps/training/run_folder.h"
#include "apps/training/signals.h"
#include "apps/training/trainer.h"
#include "engine/device.h"
#include "engine/ops/functions.h"
#include "models/checkpoint.h"
#include "tests/apps/small_runs.h"
#include "tests/catch.h"

namespace omniconv::test {
namespace {

constexpr const char* checkpoints[] = {"last.safetensors", "best.safetensors", "resume.safetensors"};

void check_same_files(const std::string& a, const std::string& b) {
  for (const char* name : checkpoints) {
    INFO(name);
    CHECK(read_text(a + "/" + name) == read_text(b + "/" + name));
  }
  CHECK(timeless_metrics(a) == timeless_metrics(b));
}

TEST_CASE("a run leaves its files, and an equal run equal bytes, whatever the threads") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  TrainOptions options = small_options(data, folder.file("a"));
  REQUIRE(train_quietly(options) == 0);
  CHECK(json_lines(read_text(folder.file("a/metrics.jsonl"))).size() == 2);
  // 37 images in batches of 12: the tail of one joins the batch before it.
  CHECK(timeless_metrics(folder.file("a")).back().at("step") == 6);

  const int threads = thread_count();
  options.out = folder.file("b");
  options.threads = threads == 1 ? 2 : 1;
  options.log_steps = true;
  REQUIRE(train_quietly(options) == 0);
  set_threads(threads);
  check_same_files(folder.file("a"), folder.file("b"));
  CHECK(json_lines(read_text(folder.file("b/steps.jsonl"))).size() == 6);

  options.out = folder.file("c");
  options.recipe.seed = 1;
  REQUIRE(train_quietly(options) == 0);
  CHECK(read_text(folder.file("a/last.safetensors")) != read_text(folder.file("c/last.safetensors")));
}

TEST_CASE("a run that stops and goes on, within epochs too, ends like one that never stopped") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  TrainOptions whole = small_options(data, folder.file("whole"));
  whole.recipe.epochs = 3;
  whole.log_steps = true;
  REQUIRE(train_quietly(whole) == 0);

  TrainOptions pieces = whole;
  pieces.out = folder.file("pieces");
  pieces.max_steps = 1;
  REQUIRE(train_quietly(pieces) == 0);
  for (const std::int64_t steps : {2, 4, 5, 6, 8, 9}) {
    TrainOptions options = resume_options(folder.file("pieces"));
    options.max_steps = steps;
    options.log_steps = true;
    REQUIRE(train_quietly(options) == 0);
    // Where a run stops, best.safetensors is the best of the lines, the one of the stop included.
    double best = 0;
    for (const auto& line : timeless_metrics(folder.file("pieces")))
      best = std::max<double>(best, line["test_accuracy"]);
    const LoadedModel loaded = load_model(folder.file("pieces/best.safetensors"), DType::f32);
    CHECK(evaluate(*loaded.model, Dataset(load_data(data).test)).accuracy == best);
    CHECK(timeless_metrics(folder.file("pieces")).back()["step"] == steps);
  }
  check_same_files(folder.file("whole"), folder.file("pieces"));
  CHECK(read_text(folder.file("whole/steps.jsonl")) == read_text(folder.file("pieces/steps.jsonl")));
}

TEST_CASE("with every refinement on, a run that stops and goes on ends like one that never stopped") {
  const TemporaryFolder folder;
  TrainOptions whole = small_options(write_small_data(folder), folder.file("whole"));
  refine(whole.recipe);
  whole.log_steps = true;
  REQUIRE(train_quietly(whole) == 0);

  TrainOptions pieces = whole;
  pieces.out = folder.file("pieces");
  pieces.max_steps = 2;
  REQUIRE(train_quietly(pieces) == 0);
  for (const std::int64_t steps : {4, 7, 9}) {
    TrainOptions options = resume_options(folder.file("pieces"));
    options.max_steps = steps;
    options.log_steps = true;
    REQUIRE(train_quietly(options) == 0);
  }
  check_same_files(folder.file("whole"), folder.file("pieces"));
  CHECK(read_text(folder.file("whole/steps.jsonl")) == read_text(folder.file("pieces/steps.jsonl")));
}

TEST_CASE("each refinement changes what is trained or kept") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), folder.file("plain"));
  options.recipe.epochs = 2;
  options.max_steps = 4;
  REQUIRE(train_quietly(options) == 0);
  std::set<std::string> seen = {read_text(folder.file("plain/last.safetensors"))};
  Recipe refined = options.recipe;
  refine(refined);
  const std::function<void(Recipe&)> changes[] = {
      [&](Recipe& r) { r.warmup = refined.warmup; },
      [&](Recipe& r) { r.label_smoothing = refined.label_smoothing; },
      [&](Recipe& r) { r.clip_norm = refined.clip_norm; },
      [&](Recipe& r) { r.no_decay = {"bn"}; },
      [&](Recipe& r) { r.no_decay = {"bias"}; },
      [&](Recipe& r) { r.ema = refined.ema; },
      [&](Recipe& r) { r.accumulate = refined.accumulate; },
      [&](Recipe& r) { r.cutout = refined.cutout; },
      [&](Recipe& r) { r.mixing.mixup = refined.mixing.mixup; },
      [&](Recipe& r) { r.flip = refined.flip; },
      [&](Recipe& r) { r.mixing.cutmix = refined.mixing.cutmix; },
      [&](Recipe& r) { r.flip = kernels::Flip::never; },
  };
  for (const auto& change : changes) {
    TrainOptions changed = options;
    change(changed.recipe);
    changed.out = folder.file("changed");
    REQUIRE(train_quietly(changed) == 0);
    CHECK(seen.insert(read_text(folder.file("changed/last.safetensors"))).second);
  }
}

TEST_CASE("the losses of the parts of a step add up to its loss") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), folder.file("whole"));
  options.recipe.precision = DType::f64;
  options.max_steps = 1;
  options.log_steps = true;
  REQUIRE(train_quietly(options) == 0);
  const double whole = json_lines(read_text(folder.file("whole/steps.jsonl"))).at(0).at("loss");

  // Batch norm sees the parts, so they differ a little from the whole; but the loss is the mean over the same images.
  options.recipe.accumulate = 3;
  options.out = folder.file("parts");
  REQUIRE(train_quietly(options) == 0);
  const double parts = json_lines(read_text(folder.file("parts/steps.jsonl"))).at(0).at("loss");
  CHECK(parts != whole);
  CHECK(parts == Approx(whole).epsilon(0.2));
  const auto line = timeless_metrics(folder.file("parts")).back();
  CHECK(line.at("train_loss").get<double>() == Approx(parts).epsilon(1e-9));

  // A batch at the end that is too small for its parts: 36 images in a batch of 34 and one of 2.
  options.recipe.data = write_small_data(folder, 36);
  options.recipe.batch_size = 34;
  options.recipe.precision = DType::f32;
  options.max_steps = 2;
  CHECK(train_quietly(options) == 0);
}

TEST_CASE("each part of a step drops values of its own, and its gradients add up to the step's") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder, 24), folder.file("run"));
  Recipe& recipe = options.recipe;
  recipe.shuffle = recipe.augment = false;
  recipe.temperature = {1, 1, 0};
  recipe.precision = DType::f64;
  recipe.model.dropout = 0.5;
  recipe.accumulate = 2;
  options.log_steps = true;
  options.max_steps = 2;
  REQUIRE(train_quietly(options) == 0);

  const Model model(recipe.model, static_cast<std::uint64_t>(recipe.seed), DType::f64);
  const Sgd sgd(model.store, {recipe.momentum, recipe.weight_decay, recipe.nesterov});
  sgd.set_learning_rate(recipe.lr);
  const Dataset dataset(load_data(recipe.data).train);
  const auto lines = json_lines(read_text(folder.file("run/steps.jsonl")));
  for (std::int64_t step = 0; step < 2; ++step) {
    double loss = 0;
    model.store.begin_gradients();
    for (std::int64_t part = 2 * step; part < 2 * step + 2; ++part) {
      std::vector<std::int32_t> indices(6);
      std::iota(indices.begin(), indices.end(), static_cast<std::int32_t>(6 * part));
      model.set_step(part);
      loss +=
          add_gradients(model, sgd, dataset.gather(Tensor::from_host(indices), DType::f64), {.mean_over = 12}, nullptr)
              .to_doubles()[0];
    }
    model.store.finish_gradients();
    sgd.step();
    CHECK(lines.at(static_cast<std::size_t>(step)).at("loss").get<double>() == Approx(loss).epsilon(1e-9));
  }
}

TEST_CASE("a square to blank must fit the images of the data") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), folder.file("run"));
  options.recipe.cutout = 33;
  CHECK_THAT(message_of<UsageError>([&] { train_quietly(options); }),
             ContainsSubstring("expected --cutout of at most 32, the side of the images, got 33"));
}

TEST_CASE("test-time augmentation averages the logits of the views") {
  CHECK(parse_views("none").size() == 1);
  CHECK(parse_views("flip") == std::vector<View>{{0, 0, false}, {0, 0, true}});
  CHECK(parse_views("shift").size() == 5);
  CHECK(parse_views("flip,shift").size() == 10);
  for (const char* wrong : {"", "flop", "flip,flip", "none,flip"})
    CHECK_THAT(message_of<UsageError>([&] { parse_views(wrong); }), ContainsSubstring("expected --tta none, flip"));

  const TemporaryFolder folder;
  const Dataset test(load_data(write_small_data(folder)).test);
  ModelConfig config = small_options("", "").recipe.model;
  const Model model(config, 3, DType::f64);
  std::vector<double> mean(200, 0.0);
  const std::vector<View> views = parse_views("flip,shift");
  for (const View& view : views) {
    const Tensor logits = Tensor::empty({20, 10}, DType::f64);
    evaluate(model, test, 100, logits, {}, {view});
    const std::vector<double> values = logits.to_doubles();
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += values[i] / static_cast<double>(views.size());
  }
  const Tensor logits = Tensor::empty({20, 10}, DType::f64);
  evaluate(model, test, 7, logits, {}, views);
  const std::vector<double> averaged = logits.to_doubles();
  for (std::size_t i = 0; i < mean.size(); ++i) CHECK(averaged[i] == Approx(mean[i]).epsilon(1e-9));
}

TEST_CASE("metrics that were written behind the stored state are dropped when the run goes on") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), folder.file("whole"));
  REQUIRE(train_quietly(options) == 0);
  options.out = folder.file("run");
  options.max_steps = 3;
  REQUIRE(train_quietly(options) == 0);
  const std::string first_epoch = read_text(folder.file("run/resume.safetensors"));
  REQUIRE(train_quietly(resume_options(folder.file("run"))) == 0);
  // As if the machine had stopped between the files of the second epoch.
  write_text(folder.file("run/resume.safetensors"), first_epoch);
  write_text(folder.file("run/last.safetensors.tmp-1-0"), "half");
  REQUIRE(train_quietly(resume_options(folder.file("run"))) == 0);
  check_same_files(folder.file("whole"), folder.file("run"));
  CHECK_FALSE(std::filesystem::exists(folder.file("run/last.safetensors.tmp-1-0")));
}

TEST_CASE("a signal that has come keeps the next epoch from beginning") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  {
    const StopSignals signals;
    CHECK(StopSignals::received() == 0);
    std::raise(SIGTERM);
    CHECK(StopSignals::received() == SIGTERM);
    const Recipe recipe = small_options(data, "").recipe;
    Trainer trainer(recipe, load_data(data));
    std::vector<EpochMetrics> history;
    const TextFile text;
    Console console(text.stream());
    trainer.run(RunFolder(folder.file("none")), trainer.total_steps(), false, console, history);
    CHECK(trainer.finished_steps() == 0);
    CHECK(history.empty());
  }
  const StopSignals again;
  CHECK(StopSignals::received() == 0);
}

TEST_CASE("the evaluator finds in the checkpoints what training has written down") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  REQUIRE(train_quietly(small_options(data, folder.file("run"))) == 0);
  const LoadedModel loaded = load_model(folder.file("run/last.safetensors"), DType::f32);
  const auto line = timeless_metrics(folder.file("run")).back();
  CHECK(loaded.temperature == line["temperature"].get<double>());
  const Dataset test(load_data(data).test);
  const Tensor logits = Tensor::empty({20, 10}, DType::f32);
  std::int64_t heard = 0;
  const Evaluation result = evaluate(*loaded.model, test, 100, logits, [&](std::int64_t done) { heard = done; });
  CHECK(result.accuracy == line["test_accuracy"].get<double>());
  CHECK(result.loss == line["test_loss"].get<double>());
  CHECK(result.images == 20);
  CHECK(heard == 20);

  // Logits in file order, and another batch size changes no more than the last bits.
  const Tensor other = Tensor::empty({20, 10}, DType::f32);
  const Evaluation in_parts = evaluate(*loaded.model, test, 7, other);
  CHECK(in_parts.loss == Approx(result.loss));
  const std::vector<double> a = logits.to_doubles(), b = other.to_doubles();
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == Approx(b[i]).margin(1e-5));
}

TEST_CASE("without shuffling and augmentation a run sees the records in the order of the files") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  TrainOptions options = small_options(data, folder.file("run"));
  options.recipe.shuffle = options.recipe.augment = false;
  options.recipe.temperature = {1, 1, 0};
  options.recipe.precision = DType::f64;
  options.log_steps = true;
  options.max_steps = 2;
  REQUIRE(train_quietly(options) == 0);

  const Recipe& recipe = options.recipe;
  const Model model(recipe.model, static_cast<std::uint64_t>(recipe.seed), DType::f64);
  const Sgd sgd(model.store, {recipe.momentum, recipe.weight_decay, recipe.nesterov});
  sgd.set_learning_rate(recipe.lr);
  const ImageSet records = load_data(data).train;
  const auto lines = json_lines(read_text(folder.file("run/steps.jsonl")));
  REQUIRE(lines.size() == 2);
  constexpr double mean[] = {0.4914, 0.4822, 0.4465}, standard_deviation[] = {0.2023, 0.1994, 0.2010};
  for (std::int64_t step = 0; step < 2; ++step) {
    std::vector<double> pixels;
    std::vector<std::int32_t> labels;
    for (std::int64_t i = 12 * step; i < 12 * (step + 1); ++i) {
      labels.push_back(records.labels[static_cast<std::size_t>(i)]);
      for (std::int64_t p = 0; p < 1024; ++p)
        for (std::int64_t c = 0; c < 3; ++c)
          pixels.push_back(
              (records.images[static_cast<std::size_t>(i * image_bytes + c * 1024 + p)] / 255.0 - mean[c]) /
              standard_deviation[c]);
    }
    const Batch batch{Tensor::from_host(pixels, {12, 32, 32, 3}), Tensor::from_host(labels)};
    const double loss = train_on_batch(model, sgd, batch, nullptr).to_doubles()[0];
    CHECK(lines[static_cast<std::size_t>(step)]["step"] == step + 1);
    CHECK(lines[static_cast<std::size_t>(step)]["loss"].get<double>() == Approx(loss).epsilon(1e-9));
  }
}

TEST_CASE("a loss that is no number ends the run by its step and leaves the files of the epoch before") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), folder.file("run"));
  options.recipe.lr_schedule = LearningRateSchedule::step;
  options.recipe.lr_milestones = {1};
  options.recipe.lr_factor = 1e30;  // the second epoch explodes
  options.log_steps = true;
  const std::string message = message_of<Error>([&] { train_quietly(options); });
  CHECK_THAT(message, StartsWith("[train] expected a finite loss, got ") && ContainsSubstring(" at step 5: ") &&
                          ContainsSubstring(" made the first value that is not finite; try a lower --lr than 0.02"));
  const auto lines = timeless_metrics(folder.file("run"));
  REQUIRE(lines.size() == 1);
  const LoadedModel loaded = load_model(folder.file("run/last.safetensors"), DType::f32);
  for (const double value : loaded.model->store.values().to_doubles()) REQUIRE(std::isfinite(value));
  CHECK(stored_run(RunFolder(folder.file("run")).read_resume(), "run").finished_steps == 3);
  CHECK(json_lines(read_text(folder.file("run/steps.jsonl"))).size() == 4);
}

TEST_CASE("a loss that is no number is blamed on the first layer, or on weights that were none before") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder), start = folder.file("start.safetensors");
  TrainOptions options = small_options(data, folder.file("run"));
  options.recipe.init = start;
  const auto message_with = [&](const char* parameter, double value) {
    const Model model(options.recipe.model, 0);
    const auto& entry = model.store.entry(parameter);
    const std::vector<float> values(static_cast<std::size_t>(entry.variable.value().count()),
                                    static_cast<float>(value));
    entry.variable.value().copy_from_host(values.data());
    write_safetensors(start, model_file(model, 1));
    return message_of<Error>([&] { train_quietly(options); });
  };
  CHECK_THAT(message_with("fc.weight", 3e38),
             ContainsSubstring(" at step 1: fc (linear) made the first value that is not finite"));
  CHECK_THAT(message_with("layer2.1.conv1.attention.filter_fc.bias", INFINITY),
             ContainsSubstring("values of layer2.1.conv1.attention.filter_fc.bias were not finite before it"));
  options.recipe.accumulate = 3;
  CHECK_THAT(message_with("layer3.0.bn2.bias", 3e38), ContainsSubstring(" at step 1: layer3."));
}

TEST_CASE("a static net of a batch of one trains, and --init starts from given weights") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder, 5, 3);
  TrainOptions options = small_options(data, folder.file("a"));
  options.given.clear();
  options.recipe.model.model = "resnet18";
  options.recipe.model.kernels = 1;
  options.recipe.batch_size = 1;
  options.recipe.epochs = 1;
  options.recipe.lr = 1e-3;
  options.max_steps = 2;
  REQUIRE(train_quietly(options) == 0);

  options.recipe.init = folder.file("a/last.safetensors");
  options.recipe.lr = 0;
  options.recipe.seed = 5;
  options.out = folder.file("b");
  REQUIRE(train_quietly(options) == 0);
  const auto weights = [&](const char* run) {
    return read_safetensors(folder.file(run)).tensors.at("layer4.1.conv2.weight");
  };
  CHECK(weights("a/last.safetensors") == weights("b/last.safetensors"));
}

}  // namespace
}  // namespace omniconv::test
