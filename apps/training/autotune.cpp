#include "apps/training/autotune.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "apps/training/random_steps.h"
#include "apps/training/statistics.h"
#include "engine/allocator.h"
#include "engine/conv/recorder.h"

namespace omniconv {
namespace {

using conv::Algorithm;
using conv::Problem;

constexpr std::string_view where = "autotune";
constexpr int timed_steps = 3;

std::map<Problem, std::vector<double>> time_algorithm(Algorithm algorithm, RandomSteps& steps) {
  const conv::ForceAlgorithm forced(algorithm);
  std::map<Problem, std::vector<double>> seconds;
  steps.run_in_parts();
  conv::RunRecorder recorder;
  for (int step = 0; step < timed_steps; ++step) {
    steps.run_in_parts();
    for (const conv::Run& run : recorder.take())
      if (run.problem.kernels > 0 && run.algorithm == conv::name_of(algorithm))
        seconds[run.problem].push_back(run.seconds);
  }
  return seconds;
}

constexpr std::array all_directions{conv::Direction::forward, conv::Direction::data_gradient,
                                    conv::Direction::weight_gradient};
constexpr std::array all_types{DType::f32, DType::f64, DType::bf16, DType::f16};

/// The one of `values` whose name stands in `json`.
template <class Values>
auto named(const Values& values, const nlohmann::json& json, const std::string& source) {
  const auto found = std::find_if(values.begin(), values.end(), [&](auto value) { return json == name_of(value); });
  expect(found != values.end(), where, source, ": expected a plan's algorithm, direction and type, got ", json.dump());
  return *found;
}

}  // namespace

conv::MeasuredPlans autotune(const Recipe& recipe, Console& console) {
  // A step computes its batch in parts; the last of them may be smaller, and keeps the default plan.
  const std::int64_t part = (recipe.batch_size + recipe.accumulate - 1) / recipe.accumulate;
  const Model model(recipe.model, 0, recipe.precision);
  RandomSteps steps(model, recipe, part);
  conv::MeasuredPlans plans;
  std::map<Problem, double> best;
  for (const Algorithm algorithm : conv::all_algorithms) {
    if (!conv::is_for_speed(algorithm, recipe.precision)) continue;
    console.show(concat("autotune: ", conv::name_of(algorithm)));
    try {
      for (const auto& [problem, seconds] : time_algorithm(algorithm, steps)) {
        const double time = median(seconds);
        const auto [entry, first] = best.try_emplace(problem, time);
        if (!first && entry->second <= time) continue;
        entry->second = time;
        plans[problem] = algorithm;
      }
    } catch (const OutOfMemory&) {
      console.print(concat("autotune: ", conv::name_of(algorithm), " does not fit into memory and is left out"));
    }
  }
  return plans;
}

nlohmann::json plans_to_json(const conv::MeasuredPlans& plans) {
  nlohmann::json json = nlohmann::json::array();
  for (const auto& [problem, algorithm] : plans) {
    const ConvShape& s = problem.shape;
    json.push_back({{"algorithm", conv::name_of(algorithm)},
                    {"direction", conv::name_of(problem.direction)},
                    {"dtype", name_of(problem.dtype)},
                    {"kernels", problem.kernels},
                    {"input", {s.samples, s.height, s.width, s.in_channels}},
                    {"weight", {s.out_channels, s.kernel_height, s.kernel_width}},
                    {"params", {s.params.stride, s.params.padding, s.params.dilation, s.params.groups}}});
  }
  return json;
}

conv::MeasuredPlans plans_from_json(const nlohmann::json& json, const std::string& source) {
  using Numbers = std::vector<std::int64_t>;
  conv::MeasuredPlans plans;
  try {
    for (const nlohmann::json& row : json) {
      const Numbers input = row.at("input"), weight = row.at("weight"), params = row.at("params");
      const ConvShape shape{
          input.at(0),  input.at(1),  input.at(2),  input.at(3),
          weight.at(0), weight.at(1), weight.at(2), {params.at(0), params.at(1), params.at(2), params.at(3)}};
      const Problem problem{shape, row.at("kernels"), named(all_types, row.at("dtype"), source),
                            named(all_directions, row.at("direction"), source)};
      plans[problem] = named(conv::all_algorithms, row.at("algorithm"), source);
    }
  } catch (const nlohmann::json::exception& error) {
    fail(where, source, ": expected plans, got: ", error.what());
  } catch (const std::out_of_range&) {
    fail(where, source, ": expected plans with 4, 3 and 4 extents, got fewer");
  }
  return plans;
}

}  // namespace omniconv
