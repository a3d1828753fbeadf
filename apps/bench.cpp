#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/bench_layers.h"
#include "apps/commands.h"
#include "apps/export/inference_bench.h"
#include "apps/model_options.h"
#include "apps/training/autotune.h"
#include "apps/training/batch_memory.h"
#include "apps/training/metrics.h"
#include "apps/training/options.h"
#include "apps/training/progress.h"
#include "apps/training/random_steps.h"
#include "apps/training/statistics.h"
#include "apps/training/text.h"
#include "engine/allocator.h"
#include "engine/device.h"
#include "engine/fusions.h"
#include "engine/usage.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "bench";
constexpr std::int64_t warm_up_steps = 2;

struct BenchCall {
  ModelWords model;
  std::vector<std::pair<std::string, const CLI::Option*>> model_options;
  std::int64_t batch_size = 128, steps = 10;
  std::optional<std::int64_t> threads;
  const CLI::Option* batch_size_option = nullptr;
  std::string precision = "f32", cuda_graph;
  bool inference = false, layers = false, plan = false, ablate = false, autotune = false, json = false;
};

Recipe recipe_of(const BenchCall& call) {
  Recipe recipe;
  recipe.model = parse_model(call.model);
  check_uses(keys_given(call.model_options), recipe.model);
  if (call.inference)
    require_in(where, call.batch_size >= 1, "--batch-size of at least 1, got ", call.batch_size);
  else
    recipe.batch_size = call.batch_size;
  recipe.precision = parse_precision(call.precision);
  require_in(where, !call.inference || recipe.precision == DType::f32, "--precision f32 with --inference, got ",
             call.precision);
  check(recipe);
  constexpr std::int64_t most_steps = 100'000;
  require_in(where, call.steps > warm_up_steps && call.steps <= most_steps, "--steps of ", warm_up_steps + 1, " to ",
             most_steps, ", of which ", warm_up_steps, " warm up, got ", call.steps);
  check_threads(call.threads);
  set_cuda_graph(call.cuda_graph);
  return recipe;
}

/// Seconds of each of `count` steps.
std::vector<double> time(const std::function<void()>& step, std::int64_t count, Console& console) {
  std::vector<double> seconds;
  for (std::int64_t i = 0; i < count; ++i) {
    seconds.push_back(seconds_of(step));
    console.show(text("step %lld of %lld: %.1f ms", static_cast<long long>(i + 1), static_cast<long long>(count),
                      1000 * seconds.back()));
  }
  return seconds;
}

/// Median seconds of a step with a fusion, and with its composed form instead.
struct FusionAblation {
  Fusion fusion;
  double seconds_on, seconds_off;
};

/// `count` steps with each fusion on and off in turns, after as many of each as warm up.
std::vector<FusionAblation> ablate_fusions(const std::function<void()>& step, std::int64_t count, Console& console) {
  std::vector<FusionAblation> ablations;
  for (const Fusion fusion : all_fusions) {
    console.show(concat("ablation: ", name_of(fusion)));
    std::vector<double> on, off;
    for (std::int64_t i = 0; i < warm_up_steps + count; ++i) {
      for (const bool enabled : {true, false}) {
        const WithFusion form(fusion, enabled);
        (enabled ? on : off).push_back(seconds_of(step));
      }
    }
    ablations.push_back(
        {fusion, median({on.begin() + warm_up_steps, on.end()}), median({off.begin() + warm_up_steps, off.end()})});
  }
  return ablations;
}

void print_fusions(const std::vector<FusionAblation>& ablations, Console& console) {
  console.print(text("%-24s %14s %14s", "fusion", "step on, ms", "step off, ms"));
  for (const FusionAblation& ablation : ablations)
    console.print(text("%-24s %14.2f %14.2f", std::string(name_of(ablation.fusion)).c_str(), 1000 * ablation.seconds_on,
                       1000 * ablation.seconds_off));
}

nlohmann::ordered_json fusions_json(const std::vector<FusionAblation>& ablations) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const FusionAblation& ablation : ablations)
    json.push_back({{"fusion", name_of(ablation.fusion)},
                    {"seconds_on", ablation.seconds_on},
                    {"seconds_off", ablation.seconds_off}});
  return json;
}

/// Forward passes of every form in which the model can be deployed.
void bench_inference(const BenchCall& call, const ModelConfig& config) {
  const std::vector<std::int64_t> batch_sizes =
      call.batch_size_option->count() > 0 ? std::vector{call.batch_size} : std::vector<std::int64_t>{1, 8, 128};
  Console console(call.json ? stderr : stdout);
  console.print(concat(describe(config), ": inference on ", device_kind(), ", ", device_name(), ", ", call.steps,
                       " calls of each form in turns"));
  const auto timings = time_inference(config, batch_sizes, call.steps, config.image_size, [&](std::int64_t finished) {
    if (console.due()) console.show(concat(finished, " calls"));
  });
  console.print("form      batch   median ms      p95 ms    images/s");
  nlohmann::ordered_json json = {{"model", config.model}, {"kernels", config.kernels}, {"width", config.width}};
  for (const InferenceTiming& timing : timings) {
    console.print(text("%-8s %6lld %11.2f %11.2f %11.1f", timing.form.c_str(),
                       static_cast<long long>(timing.batch_size), 1000 * timing.median_seconds,
                       1000 * timing.p95_seconds, timing.images_per_second()));
    json["inference"].push_back({{"form", timing.form},
                                 {"batch_size", timing.batch_size},
                                 {"median_seconds", timing.median_seconds},
                                 {"p95_seconds", timing.p95_seconds},
                                 {"images_per_second", timing.images_per_second()}});
  }
  if (call.json) std::printf("%s\n", json.dump().c_str());
}

void bench(const BenchCall& call) {
  const Recipe recipe = recipe_of(call);
  require_device();
  if (call.threads) set_threads(static_cast<int>(*call.threads));
  if (call.inference) return bench_inference(call, recipe.model);
  Console console(call.json ? stderr : stdout);
  if (call.autotune)
    conv::set_measured_plans(within_memory(recipe.batch_size, [&] { return autotune(recipe, console); }));
  const Model model(recipe.model, 0, recipe.precision);
  console.print(concat(describe(recipe.model), ": ", grouped(model.store.parameter_count()), " parameters"));
  console.print(concat(device_kind(), ", ", device_name(), ", ", name_of(recipe.precision), ", batch ",
                       recipe.batch_size, " of ", recipe.model.image_size, "x", recipe.model.image_size, ", ",
                       call.steps, " steps"));
  RandomSteps steps(model, recipe, recipe.batch_size);
  const auto step = [&] { steps.run(); };
  const auto step_in_parts = [&] { steps.run_in_parts(); };
  const std::int64_t recorded_steps = call.steps - warm_up_steps;
  if (call.plan) {
    const std::vector<LayerRow> rows = record_layers(model, step_in_parts, 1);
    print_plan(rows, console);
    if (call.json) std::printf("%s\n", nlohmann::ordered_json{{"plan", plan_json(rows)}}.dump().c_str());
    return;
  }
  const std::vector<double> seconds = within_memory(recipe.batch_size, [&] { return time(step, call.steps, console); });

  const double step_seconds = median({seconds.begin() + warm_up_steps, seconds.end()});
  const double images_per_second = static_cast<double>(recipe.batch_size) / step_seconds;
  const auto peak_bytes = static_cast<std::int64_t>(memory_statistics().peak_bytes);
  const auto peak_rss_bytes = peak_resident_bytes();
  constexpr double mebibyte = 1 << 20;
  console.print(text("step      %10.1f ms (median without the first two)", 1000 * step_seconds));
  console.print(text("speed     %10.1f images/s", images_per_second));
  console.print(text("memory    %10.1f MiB of tensors at most", static_cast<double>(peak_bytes) / mebibyte));
  console.print(text("resident  %10.1f MiB at most", static_cast<double>(peak_rss_bytes) / mebibyte));
  const bool recorded = step_graphs() && steps.graph_refusal().empty();
  if (step_graphs())
    console.print("queued as " + (recorded ? "one CUDA graph each" : "single kernels: " + steps.graph_refusal()));
  std::vector<LayerRow> layers;
  if (call.layers) {
    layers = record_layers(model, step_in_parts, recorded_steps);
    print_layers(layers, step_seconds, console);
  }
  std::vector<Ablation> ablations;
  std::vector<FusionAblation> fusions;
  if (call.ablate) {
    ablations = ablate(model, recipe.precision, step_in_parts, recorded_steps, console);
    print_ablation(ablations, console);
    fusions = ablate_fusions(step, recorded_steps, console);
    print_fusions(fusions, console);
  }
  if (!call.json) return;
  nlohmann::ordered_json json = {{"model", recipe.model.model},     {"kernels", recipe.model.kernels},
                                 {"width", recipe.model.width},     {"image_size", recipe.model.image_size},
                                 {"batch_size", recipe.batch_size}, {"precision", call.precision},
                                 {"step_seconds", seconds},         {"images_per_second", images_per_second},
                                 {"peak_bytes", peak_bytes},        {"peak_rss_bytes", peak_rss_bytes},
                                 {"cuda_graph", recorded}};
  if (call.layers) json["layers"] = layers_json(layers, step_seconds);
  if (call.ablate) {
    json["ablation"] = ablation_json(ablations);
    json["fusions"] = fusions_json(fusions);
  }
  std::printf("%s\n", json.dump().c_str());
}

}  // namespace

void add_bench(CLI::App& program, int& exit_code) {
  const auto call = std::make_shared<BenchCall>();
  CLI::App& command = *program.add_subcommand("bench", "Time training steps on random images, or inference.");
  add_model_options(command, call->model, call->model_options);
  call->batch_size_option = command.add_option("--batch-size", call->batch_size, "Images in a step");
  command.add_option("--steps", call->steps, "Steps to time; the first two warm up");
  CLI::Option* inference = command.add_flag(
      "--inference", call->inference, "Time forward passes instead: dynamic, folded and static, at batch 1, 8, 128");
  command.add_option("--precision", call->precision, precision_help);
  command.add_option("--threads", call->threads, "Host threads");
  CLI::Option* cuda_graph = command.add_option("--cuda-graph", call->cuda_graph, cuda_graph_help);
  command.add_flag("--layers", call->layers, "Also time every convolution: algorithm, speed, bytes, share of the step");
  CLI::Option* plan =
      command.add_flag("--plan", call->plan, "Only the algorithm of every convolution and direction, and why");
  CLI::Option* ablate = command.add_flag(
      "--ablate", call->ablate, "Also time the dynamic convolutions under each algorithm, and without each fusion");
  CLI::Option* autotune = command.add_flag("--autotune", call->autotune, autotune_help);
  plan->excludes(ablate)->excludes(cuda_graph)->excludes("--layers");
  inference->excludes(ablate)->excludes(plan)->excludes(autotune)->excludes(cuda_graph)->excludes("--layers");
  command.add_flag("--json", call->json, "The result as one JSON object on stdout, text on stderr");
  command.callback([call, &exit_code] {
    bench(*call);
    exit_code = 0;
  });
}

}  // namespace omniconv
