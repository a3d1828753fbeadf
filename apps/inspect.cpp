#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/model_options.h"
#include "apps/training/options.h"
#include "apps/training/progress.h"
#include "apps/training/recipe.h"
#include "apps/training/text.h"
#include "engine/usage.h"
#include "models/checkpoint.h"

namespace omniconv {
namespace {

struct InspectCall {
  std::string checkpoint;
  ModelWords model;
  std::vector<std::pair<std::string, const CLI::Option*>> model_options;
  bool json = false;
};

struct Row {
  std::string name;
  Shape shape;
  std::string type;
  std::int64_t count;
};

/// "attention", "norms", ...: what a tensor is for, by its name.
std::string part_of(const std::string& name) {
  const auto has = [&](const char* word) { return name.find(word) != std::string::npos; };
  if (has("running_") || has("num_batches_tracked")) return "running statistics";
  if (has("attention.")) return "attention";
  if (has("bn") || has("downsample.1.")) return "batch norms";
  return name.starts_with("fc.") ? "classifier" : "convolutions";
}

/// Of each part and of all parameters; running statistics are no parameters.
std::vector<std::pair<std::string, std::int64_t>> totals_of(const std::vector<Row>& rows) {
  std::vector<std::pair<std::string, std::int64_t>> totals;
  for (const char* part : {"convolutions", "attention", "batch norms", "classifier", "running statistics"}) {
    std::int64_t sum = 0;
    for (const Row& row : rows) sum += part_of(row.name) == part ? row.count : 0;
    if (sum > 0) totals.emplace_back(part, sum);
  }
  return totals;
}

std::int64_t parameters_in(const std::vector<Row>& rows) {
  std::int64_t sum = 0;
  for (const Row& row : rows) sum += part_of(row.name) == "running statistics" ? 0 : row.count;
  return sum;
}

std::vector<std::pair<const char*, std::int64_t>> parts_of(const Cost& cost) {
  return {{"convolution", cost.convolution},
          {"attention", cost.attention},
          {"aggregation", cost.aggregation},
          {"scaling", cost.scaling},
          {"total", cost.total()}};
}

void print_json(const ModelConfig& config, const std::vector<Row>& rows, const Cost& cost) {
  nlohmann::ordered_json json;
  json["model"] = to_json(config);
  json["model"]["folded"] = config.folded;
  json["model"]["class_names"] = config.class_names;
  json["parameters"] = parameters_in(rows);
  for (const auto& [part, count] : totals_of(rows)) json["parts"][part] = count;
  for (const auto& [part, count] : parts_of(cost)) json["multiply_accumulates"][part] = count;
  for (const Row& row : rows)
    json["tensors"].push_back({{"name", row.name}, {"shape", row.shape}, {"type", row.type}, {"count", row.count}});
  std::printf("%s\n", json.dump().c_str());
}

void print_text(const ModelConfig& config, const std::vector<Row>& rows, const Cost& cost) {
  int name_width = 4, shape_width = 5;
  for (const Row& row : rows) {
    name_width = std::max(name_width, static_cast<int>(row.name.size()));
    shape_width = std::max(shape_width, static_cast<int>(concat(row.shape).size()));
  }
  std::printf("%s\n\n%-*s  %-*s  type       count\n", describe(config).c_str(), name_width, "name", shape_width, "shape");
  for (const Row& row : rows)
    std::printf("%-*s  %-*s  %-4s %11s\n", name_width, one_line(row.name).c_str(), shape_width,
                concat(row.shape).c_str(), row.type.c_str(), grouped(row.count).c_str());
  std::printf("\nparameters          %13s\n", grouped(parameters_in(rows)).c_str());
  for (const auto& [part, count] : totals_of(rows)) std::printf("  %-18s%13s\n", part.c_str(), grouped(count).c_str());
  const int size = static_cast<int>(config.image_size);
  std::printf("\nmultiply-accumulates of one %dx%d image\n", size, size);
  for (const auto& [part, count] : parts_of(cost)) std::printf("  %-18s%13s\n", part, grouped(count).c_str());
}

void inspect(const InspectCall& call) {
  const bool names_model = std::any_of(call.model_options.begin(), call.model_options.end(), [](const auto& option) {
    return option.second->count() > 0 && option.first != "image_size";  // an image has a size whatever the model
  });
  require_in("inspect", call.checkpoint.empty() || !names_model, "--checkpoint or the options of a model, got both");
  require_in("inspect", !call.checkpoint.empty() || names_model, "--checkpoint or --model, got neither");

  std::map<std::string, ParameterStore::FileTensor> tensors;
  ModelConfig config;
  if (call.checkpoint.empty()) {
    config = parse_model(call.model);
    check_uses(keys_given(call.model_options), config);
    check(config);
  } else {
    const Checkpoint checkpoint = read_checkpoint(call.checkpoint);
    config = checkpoint.config;
    if (call.model.image_size) config.image_size = *call.model.image_size;
    check(config);
    for (const auto& [name, tensor] : checkpoint.file.tensors)
      tensors.emplace(name, ParameterStore::FileTensor{tensor.dtype, tensor.shape});
  }
  // Declared, not allocated: the largest models have gigabytes of parameters.
  ParameterStore store(DType::f32, 0);
  const ResNet net(config, store);
  if (call.checkpoint.empty()) tensors = store.layout();

  std::vector<Row> rows;
  for (const auto& [name, tensor] : tensors)
    rows.push_back({name, tensor.shape, std::string(name_of(tensor.dtype)), element_count(tensor.shape)});
  const Cost cost = net.cost(config.image_size, config.image_size);
  if (call.json)
    print_json(config, rows, cost);
  else
    print_text(config, rows, cost);
}

}  // namespace

void add_inspect(CLI::App& program, int& exit_code) {
  const auto call = std::make_shared<InspectCall>();
  CLI::App& command =
      *program.add_subcommand("inspect", "The parameters of a checkpoint or a model, and what an image costs.");
  command.add_option("--checkpoint", call->checkpoint, "Checkpoint (safetensors) of a ResNet, ours or PyTorch's");
  add_model_options(command, call->model, call->model_options);
  command.add_flag("--json", call->json, "The result as one JSON object on stdout");
  command.callback([call, &exit_code] {
    inspect(*call);
    exit_code = 0;
  });
}

}  // namespace omniconv
