// Runs in bf16 and f16: they learn as f32 does, resume to the same bits, and count skipped steps.
#include <cmath>

#include "apps/training/evaluator.h"
#include "apps/training/run_folder.h"
#include "apps/training/trainer.h"
#include "engine/device.h"
#include "models/checkpoint.h"
#include "tests/apps/tiny_runs.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

/// Losses of steps on one batch, in `precision`.
std::vector<double> losses_of(const std::string& model, DType precision, const ImageData& data) {
  constexpr std::int64_t steps = 24;
  ModelConfig config;
  config.model = model;
  config.width = 8;
  config.image_size = data.train.extent;
  config.kernels = config.dynamic() ? 2 : 1;
  const Model net(config, 1, precision);
  net.set_temperature(4);
  const Sgd sgd(net.store, {0.9, 5e-4, false});
  sgd.set_learning_rate(0.02);
  const Dataset dataset(data.train);
  const Batch batch = dataset.gather(Tensor::from_host(std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6, 7}), precision);
  std::vector<double> losses;
  for (std::int64_t i = 0; i < steps; ++i) {
    const Tensor loss = train_on_batch(net, sgd, batch, nullptr);
    CHECK(loss.dtype() == DType::f32);
    losses.push_back(loss.to_doubles()[0]);
  }
  return losses;
}

TEST_CASE("small nets learn in bf16 and f16 as they do in f32") {
  const std::string model = GENERATE("od_resnet18", "resnet18");
  const ImageData data = tiny_data();  // of which they learn all in these steps, however sums are rounded
  const std::vector<double> expected = losses_of(model, DType::f32, data);
  REQUIRE(expected.back() < 0.5 * expected.front());
  for (const DType precision : {DType::bf16, DType::f16}) {
    INFO(model << " in " << name_of(precision));
    const std::vector<double> actual = losses_of(model, precision, data);
    CHECK(actual.back() < 0.5 * actual.front());
    CHECK(Tolerance::half_losses().holds(actual.front(), expected.front()));
    CHECK(actual != expected);
  }
}

constexpr const char* files[] = {"last.safetensors", "best.safetensors", "resume.safetensors"};

TEST_CASE("a run in 16 bits that stops and goes on ends in the bits of one that never stopped") {
  const DType precision = GENERATE(DType::bf16, DType::f16);
  const TemporaryFolder folder;
  // 16 bits are emulated, so there are few images: as elsewhere the tail of one joins an epoch's third batch.
  TrainOptions whole = small_options(write_small_data(folder, 13, 6), folder.file("whole"));
  whole.recipe.batch_size = 4;
  if (GENERATE(false, true)) refine(whole.recipe);
  whole.recipe.precision = precision;
  REQUIRE(train_quietly(whole) == 0);

  TrainOptions pieces = whole;
  pieces.out = folder.file("pieces");
  pieces.max_steps = 1;
  const int threads = thread_count();
  pieces.threads = threads == 1 ? 2 : 1;
  REQUIRE(train_quietly(pieces) == 0);
  set_threads(threads);
  TrainOptions rest = resume_options(folder.file("pieces"));
  rest.max_steps = 4;
  REQUIRE(train_quietly(rest) == 0);
  REQUIRE(train_quietly(resume_options(folder.file("pieces"))) == 0);
  for (const char* name : files)
    CHECK(read_text(folder.file(std::string("whole/") + name)) ==
          read_text(folder.file(std::string("pieces/") + name)));
  CHECK(timeless_metrics(folder.file("whole")) == timeless_metrics(folder.file("pieces")));

  // Checkpoints hold the weights in f32; what they were evaluated in gives the same numbers again.
  const SafetensorsFile last = read_safetensors(folder.file("whole/last.safetensors"));
  CHECK(last.tensors.at("layer1.0.conv1.weight").dtype == DType::f32);
  const LoadedModel loaded = load_model(folder.file("whole/last.safetensors"), precision);
  const auto line = timeless_metrics(folder.file("whole")).back();
  CHECK(evaluate(*loaded.model, Dataset(load_data(folder.file("data")).test)).loss == line["test_loss"].get<double>());
  CHECK(line.contains("loss_scale") == (precision == DType::f16));
}

TEST_CASE("the state of loss scaling is part of a run's state, and metrics count skipped steps") {
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), folder.file("run"));
  options.recipe.precision = DType::f16;
  options.max_steps = 2;
  REQUIRE(train_quietly(options) == 0);
  CHECK(timeless_metrics(folder.file("run")).back()["skipped_steps"] == 0);
  CHECK(timeless_metrics(folder.file("run")).back()["loss_scale"] == 65536);

  // A scale that every gradient overflows with: the next steps are skipped until it fits.
  const std::string path = folder.file("run/resume.safetensors");
  SafetensorsFile state = read_safetensors(path);
  CHECK(to_doubles(state.tensors.at("run.loss_scale"), "") == std::vector<double>{65536, 2, 0});
  const HostTensor weights = state.tensors.at("layer4.1.conv2.weight");
  state.tensors["run.loss_scale"] = make_host_tensor<double>({0x1p120, 7, 3}, {3});
  write_safetensors(path, state);
  TrainOptions rest = resume_options(folder.file("run"));
  rest.max_steps = 5;
  REQUIRE(train_quietly(rest) == 0);
  const auto line = timeless_metrics(folder.file("run")).back();
  CHECK(line["skipped_steps"] == 6);
  CHECK(line["loss_scale"] == 0x1p117);
  const SafetensorsFile after = read_safetensors(path);
  CHECK(after.tensors.at("layer4.1.conv2.weight") == weights);
  CHECK(to_doubles(after.tensors.at("run.loss_scale"), "") == std::vector<double>{0x1p117, 0, 6});

  const auto refused = [&](std::vector<double> values) {
    const auto count = static_cast<std::int64_t>(values.size());
    state.tensors["run.loss_scale"] = make_host_tensor(values, {count});
    write_safetensors(path, state);
    return message_of<Error>([&] { train_quietly(resume_options(folder.file("run"))); });
  };
  CHECK_THAT(refused({0, 1, 1}), ContainsSubstring("expected run.loss_scale with a scale above 0 and two counts"));
  CHECK_THAT(refused({1e300, 1, 1}), ContainsSubstring("expected run.loss_scale with a scale above 0"));
  CHECK_THAT(refused({1, 0.5, 1}), ContainsSubstring("two counts, got 1, 0.5 and 1"));
  CHECK_THAT(refused({1, NAN, 1}), ContainsSubstring("two counts, got 1, nan and 1"));
  CHECK_THAT(refused({1, 1}), ContainsSubstring("expected run.loss_scale [3], got shape [2]"));
  state.tensors.erase("run.loss_scale");
  write_safetensors(path, state);
  CHECK_THAT(message_of<Error>([&] { train_quietly(resume_options(folder.file("run"))); }),
             ContainsSubstring("expected a tensor run.loss_scale, got none"));
}

}  // namespace
}  // namespace omniconv::test
