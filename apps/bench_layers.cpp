#include "apps/bench_layers.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "apps/training/statistics.h"
#include "apps/training/text.h"

namespace omniconv {

namespace {

using conv::Direction;
using conv::Run;

/// Operations of the static convolution of this shape, multiplications and additions.
double static_operations(const Run& run) {
  return 2.0 * static_cast<double>(run.problem.shape.samples * run.problem.shape.out_pixels() *
                                   run.problem.shape.weight_count());
}

/// Bytes that have to be read and written at least once, attention not counted.
double compulsory_bytes(const Run& run) {
  const ConvShape& s = run.problem.shape;
  const double weights = static_cast<double>(std::max<std::int64_t>(run.problem.kernels, 1) * s.weight_count());
  const double input = static_cast<double>(s.input_count()), output = static_cast<double>(s.output_count());
  const double element = static_cast<double>(size_of(run.problem.dtype));
  // A dynamic convolution's gradients of the attention read the input, and the weights, once more.
  const bool dynamic = run.problem.kernels > 0;
  switch (run.problem.direction) {
    case Direction::forward:
      return element * (input + weights + output);
    case Direction::data_gradient:
      return element * (output + weights + input + (dynamic ? input : 0));
    case Direction::weight_gradient:
      return element * (input + output + weights + (dynamic ? weights : 0));
  }
  return 0;
}

/// Names of convolutions by the address of their weights.
std::map<const void*, std::string> layer_names(const Model& model) {
  std::map<const void*, std::string> names;
  const std::string ending = ".weight";
  for (const ParameterStore::Entry& entry : model.store.entries()) {
    const std::string& name = entry.spec.name;
    if (entry.spec.channels_last && name.size() > ending.size() && name.ends_with(ending))
      names[entry.variable.value_in(model.store.precision(), "bench").raw()] =
          name.substr(0, name.size() - ending.size());
  }
  return names;
}

std::string text_of(const Run& run) {
  const ConvShape& s = run.problem.shape;
  return text("%lld->%lld %lldx%lld%s @%lldx%lld%s", static_cast<long long>(s.in_channels),
              static_cast<long long>(s.out_channels), static_cast<long long>(s.kernel_height),
              static_cast<long long>(s.kernel_width), s.params.stride > 1 ? " s2" : "",
              static_cast<long long>(s.out_height()), static_cast<long long>(s.out_width()),
              run.problem.kernels > 0 ? concat(" K=", run.problem.kernels).c_str() : " static");
}

/// What the row is of, and by which algorithm.
nlohmann::ordered_json plan_row(const LayerRow& row) {
  const ConvShape& s = row.run.problem.shape;
  return {{"layer", row.layer},
          {"direction", name_of(row.run.problem.direction)},
          {"algorithm", row.run.algorithm},
          {"reason", row.run.reason},
          {"kernels", row.run.problem.kernels},
          {"in_channels", s.in_channels},
          {"out_channels", s.out_channels},
          {"kernel_size", s.kernel_height},
          {"stride", s.params.stride},
          {"out_height", s.out_height()},
          {"out_width", s.out_width()}};
}

/// The same, and how it ran.
nlohmann::ordered_json measured_row(const LayerRow& row) {
  nlohmann::ordered_json json = plan_row(row);
  json["seconds"] = row.run.seconds;
  json["operations_per_second"] = static_operations(row.run) / row.run.seconds;
  json["bytes"] = compulsory_bytes(row.run);
  return json;
}

}  // namespace

std::vector<LayerRow> record_layers(const Model& model, const std::function<void()>& step, std::int64_t steps) {
  step();
  const std::map<const void*, std::string> names = layer_names(model);
  std::map<const void*, std::size_t> order;  // of the layers, as the forward pass meets them
  std::map<std::pair<std::size_t, Direction>, std::vector<Run>> runs;
  conv::RunRecorder recorder;
  for (std::int64_t i = 0; i < steps; ++i) {
    step();
    for (const Run& run : recorder.take())
      runs[{order.try_emplace(run.weight, order.size()).first->second, run.problem.direction}].push_back(run);
  }
  std::vector<LayerRow> rows;
  for (auto& [key, of_layer] : runs) {
    std::vector<double> seconds;
    for (const Run& run : of_layer) seconds.push_back(run.seconds);
    Run run = of_layer.front();
    run.seconds = median(std::move(seconds));
    const auto name = names.find(run.weight);
    rows.push_back({name == names.end() ? concat("convolution ", key.first + 1) : name->second, run});
  }
  return rows;
}

void print_plan(const std::vector<LayerRow>& rows, Console& console) {
  console.print(text("%-24s %-34s %-16s %-12s %s", "layer", "shape", "direction", "algorithm", "why"));
  for (const LayerRow& row : rows)
    console.print(text("%-24s %-34s %-16s %-12s %s", row.layer.c_str(), text_of(row.run).c_str(),
                       std::string(name_of(row.run.problem.direction)).c_str(), std::string(row.run.algorithm).c_str(),
                       std::string(row.run.reason).c_str()));
}

nlohmann::ordered_json plan_json(const std::vector<LayerRow>& rows) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const LayerRow& row : rows) json.push_back(plan_row(row));
  return json;
}

void print_layers(const std::vector<LayerRow>& rows, double step_seconds, Console& console) {
  console.print(text("%-24s %-34s %-16s %-12s %9s %9s %9s %7s", "layer", "shape", "direction", "algorithm", "ms",
                     "GFLOP/s", "MiB", "share"));
  double total = 0;
  for (const LayerRow& row : rows) {
    total += row.run.seconds;
    console.print(text("%-24s %-34s %-16s %-12s %9.2f %9.1f %9.1f %6.1f%%", row.layer.c_str(), text_of(row.run).c_str(),
                       std::string(name_of(row.run.problem.direction)).c_str(), std::string(row.run.algorithm).c_str(),
                       1000 * row.run.seconds, static_operations(row.run) / row.run.seconds / 1e9,
                       compulsory_bytes(row.run) / (1 << 20), 100 * row.run.seconds / step_seconds));
  }
  console.print(text("%-24s %-34s %-16s %-12s %9.2f %9s %9s %6.1f%%", "all convolutions", "", "", "", 1000 * total, "",
                     "", 100 * total / step_seconds));
}

nlohmann::ordered_json layers_json(const std::vector<LayerRow>& rows, double step_seconds) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const LayerRow& row : rows) {
    json.push_back(measured_row(row));
    json.back()["share"] = row.run.seconds / step_seconds;
  }
  return json;
}

std::vector<Ablation> ablate(const Model& model, DType dtype, const std::function<void()>& step, std::int64_t steps,
                             Console& console) {
  using conv::Algorithm;
  std::vector<Ablation> ablations;
  for (const Algorithm algorithm : conv::all_algorithms) {
    if (!conv::is_for_speed(algorithm, dtype)) continue;
    console.show(concat("ablation: ", conv::name_of(algorithm)));
    const conv::ForceAlgorithm forced(algorithm);
    Ablation ablation{std::string(conv::name_of(algorithm)), {}};
    for (LayerRow& row : record_layers(model, step, steps))
      if (row.run.problem.kernels > 0 && row.run.algorithm == conv::name_of(algorithm))
        ablation.rows.push_back(std::move(row));
    ablations.push_back(std::move(ablation));
  }
  return ablations;
}

void print_ablation(const std::vector<Ablation>& ablations, Console& console) {
  std::map<std::tuple<std::string, Direction>, std::map<std::string, const LayerRow*>> table;
  std::vector<const LayerRow*> order;
  std::string head = text("%-24s %-34s %-16s", "layer", "shape", "direction");
  for (const Ablation& ablation : ablations) {
    head += text(" %14s", concat(ablation.algorithm, ", ms").c_str());
    for (const LayerRow& row : ablation.rows) {
      auto& cells = table[{row.layer, row.run.problem.direction}];
      if (cells.empty()) order.push_back(&row);
      cells[ablation.algorithm] = &row;
    }
  }
  console.print(head);
  for (const LayerRow* first : order) {
    std::string line = text("%-24s %-34s %-16s", first->layer.c_str(), text_of(first->run).c_str(),
                            std::string(name_of(first->run.problem.direction)).c_str());
    const auto& cells = table[{first->layer, first->run.problem.direction}];
    for (const Ablation& ablation : ablations) {
      const auto cell = cells.find(ablation.algorithm);
      line += cell == cells.end() ? text(" %14s", "-") : text(" %14.2f", 1000 * cell->second->run.seconds);
    }
    console.print(line);
  }
}

nlohmann::ordered_json ablation_json(const std::vector<Ablation>& ablations) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const Ablation& ablation : ablations)
    for (const LayerRow& row : ablation.rows) json.push_back(measured_row(row));
  return json;
}

}  // namespace omniconv
