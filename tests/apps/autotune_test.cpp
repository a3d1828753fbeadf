// Plans by measurement: what is measured, what a run keeps of it, and files with faults.
#include "apps/training/autotune.h"

#include <nlohmann/json.hpp>

#include "apps/training/run_folder.h"
#include "tests/apps/small_runs.h"
#include "tests/catch.h"

namespace omniconv::test {
namespace {

/// No plans of one test reach another.
struct NoPlans {
  NoPlans() { conv::set_measured_plans({}); }
  ~NoPlans() { conv::set_measured_plans({}); }
};

nlohmann::json stored_plans(const std::string& run) {
  return nlohmann::json::parse(RunFolder(run).read_resume().metadata.at("state")).at("plans");
}

TEST_CASE("autotune plans every dynamic convolution in every direction by an algorithm meant for speed") {
  const NoPlans none;
  const TemporaryFolder folder;
  const Recipe recipe = small_options(write_small_data(folder), folder.file("run")).recipe;
  std::FILE* nowhere = std::tmpfile();
  Console console(nowhere);
  const conv::MeasuredPlans plans = autotune(recipe, console);
  std::fclose(nowhere);
  std::map<ConvShape, int> directions;
  for (const auto& [problem, algorithm] : plans) {
    CHECK(conv::takes(algorithm, problem));
    CHECK(conv::is_for_speed(algorithm, problem.dtype));
    CHECK(problem.shape.samples == recipe.batch_size);
    ++directions[problem.shape];
  }
  CHECK(directions.size() >= 7);  // four widths, their first convolutions of stride 2
  for (const auto& [shape, count] : directions) CHECK(count == 3);
  CHECK(plans_from_json(plans_to_json(plans), "plans") == plans);
}

TEST_CASE("a run with --autotune keeps its plans when it goes on") {
  const NoPlans none;
  const TemporaryFolder folder;
  TrainOptions options = small_options(write_small_data(folder), folder.file("run"));
  options.recipe.autotune = true;
  options.max_steps = 1;
  REQUIRE(train_quietly(options) == 0);
  const nlohmann::json plans = stored_plans(folder.file("run"));
  CHECK_FALSE(plans.empty());

  conv::set_measured_plans({});
  REQUIRE(train_quietly(resume_options(folder.file("run"))) == 0);
  CHECK(stored_plans(folder.file("run")) == plans);
  CHECK(plans_to_json(conv::measured_plans()) == plans);
}

TEST_CASE("plans with faults are refused") {
  const conv::Problem problem{{2, 8, 8, 16, 16, 3, 3, {1, 1, 1, 1}}, 4, DType::f32, conv::Direction::forward};
  const nlohmann::json good = plans_to_json({{problem, conv::Algorithm::two_sided}});
  CHECK(plans_from_json(good, "file").at(problem) == conv::Algorithm::two_sided);
  const auto with = [&](const char* key, nlohmann::json value) {
    nlohmann::json bad = good;
    bad[0][key] = std::move(value);
    return bad;
  };
  CHECK_THROWS_WITH(plans_from_json(with("algorithm", "fft"), "file"),
                    "[autotune] file: expected a plan's algorithm, direction and type, got \"fft\"");
  CHECK_THROWS_WITH(plans_from_json(with("dtype", 32), "file"), ContainsSubstring("expected a plan's algorithm"));
  CHECK_THROWS_WITH(plans_from_json(with("input", {1, 2}), "file"), ContainsSubstring("extents, got fewer"));
  CHECK_THROWS_WITH(plans_from_json(with("weight", "all"), "file"), ContainsSubstring("[autotune] file: expected plans, got: "));
  nlohmann::json incomplete = good;
  incomplete[0].erase("kernels");
  CHECK_THROWS_WITH(plans_from_json(incomplete, "file"), ContainsSubstring("[autotune] file: expected plans, got: "));
}

}  // namespace
}  // namespace omniconv::test
