// Runs and evaluations whose steps are recorded once and then repeated end in the bits of those that do each anew. On
// the CPU that holds in f64, where no step needs oneDNN.
#include "engine/step_graph.h"

#include "apps/training/evaluator.h"
#include "apps/training/options.h"
#include "apps/training/random_steps.h"
#include "engine/device.h"
#include "tests/apps/tiny_runs.h"
#include "tests/catch.h"
#include "tests/settings.h"

#if OMNICONV_CUDA
#define ON_DEVICE "[cuda]"
#else
#define ON_DEVICE ""
#endif

namespace omniconv::test {
namespace {

constexpr const char* refused = "Steps are queued kernel by kernel";

TEST_CASE("a run of recorded steps ends in the bits of one that does each anew, stops included", ON_DEVICE) {
  Recipe recipe = tiny_recipe();
  SECTION("plain") {}
  SECTION("with every refinement") {
    refine(recipe);
  }
  SECTION("with a temperature on its path and no parts") {
    refine(recipe);
    recipe.temperature_guard = false;
    recipe.accumulate = 1;
  }
  SECTION("in stages") {
    recipe.stages = {{"a", 1, TrainedPart::weights, {neutral_temperature, neutral_temperature, 0}, 1},
                     {"b", 2, TrainedPart::all, {3, 3, 0}, 0.5}};
  }
  const auto run = [&](bool on) {
    const WithStepGraphs graphs(on);
    return run_tiny(recipe);
  };
  const TinyRun anew = run(false), recorded = run(true);
  CHECK_THAT(recorded.text, !ContainsSubstring(refused));
  check_same_runs(anew, recorded);
  const WithStepGraphs on(true);
  check_same_runs(anew, run_tiny(recipe, 5));
}

#if !OMNICONV_CUDA
/// What people see of a run, which must go well.
std::string train_aloud(const TrainOptions& options) {
  const TextFile people, machines;
  REQUIRE(train(options, people.stream(), machines.stream()) == 0);
  return people.text();
}

TEST_CASE("a run whose steps cannot be recorded says so once, and trains") {
  const WithStepGraphs on(true);
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), folder.file("run"));
  const std::string text = train_aloud(options);
  const std::size_t place = text.find(refused);
  REQUIRE(place != std::string::npos);
  CHECK_THAT(text.substr(place), ContainsSubstring("work of oneDNN, which cannot be recorded"));
  CHECK(text.find(refused, place + 1) == std::string::npos);

  const WithStepGraphs off(false);
  options.out = folder.file("anew");
  train_aloud(options);
  CHECK(read_text(folder.file("run/resume.safetensors")) == read_text(folder.file("anew/resume.safetensors")));
}

TEST_CASE("a build for the CPU has no CUDA graphs") {
  CHECK_THROWS_WITH(set_cuda_graph("on"), "[options] expected --cuda-graph off, got on: this build computes on the CPU, "
                                          "where there are no CUDA graphs");
  CHECK_THROWS_WITH(set_cuda_graph("maybe"), "[options] expected --cuda-graph on or off, got \"maybe\"");
  const WithStepGraphs on(true);
  set_cuda_graph("");
  CHECK(step_graphs());
  set_cuda_graph("off");
  CHECK(!step_graphs());
}
#endif

TEST_CASE("an evaluation of recorded batches finds the bits of one that does each anew", ON_DEVICE) {
  const Model model({.model = "od_resnet18", .width = 8, .kernels = 2, .image_size = 8}, 3, DType::f64);
  const Dataset test(tiny_images(make_synthetic(1, 2, 18).test));
  const auto views = GENERATE(as<std::string>(), "none", "flip");
  Evaluation results[2];
  Tensor logits[2];
  for (const bool on : {false, true}) {
    const WithStepGraphs recorded(on);
    logits[on] = Tensor::zeros({18, 10}, DType::f64);
    results[on] = evaluate(model, test, 5, logits[on], {}, parse_views(views));
  }
  CHECK(results[0].loss == results[1].loss);
  CHECK(results[0].accuracy == results[1].accuracy);
  CHECK(logits[0].to_doubles() == logits[1].to_doubles());
}

TEST_CASE("steps to be timed are those of training, recorded or in parts", ON_DEVICE) {
  Recipe recipe;
  recipe.model = {.model = "od_resnet18", .width = 8, .kernels = 2, .image_size = 8, .dropout = 0.3};
  recipe.precision = DType::f64;
  std::vector<double> weights[3];
  for (const int form : {0, 1, 2}) {
    const WithStepGraphs on(form == 1);
    const Model model(recipe.model, 0, recipe.precision);
    RandomSteps steps(model, recipe, 2);
    for (int i = 0; i < 4; ++i) form == 2 ? steps.run_in_parts() : steps.run();
    weights[form] = model.store.values().to_doubles();
  }
  CHECK(weights[0] == weights[1]);
  CHECK(weights[0] == weights[2]);
}

}  // namespace
}  // namespace omniconv::test
