#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/commands.h"
#include "apps/model_options.h"
#include "apps/report/attention_files.h"
#include "apps/training/dataset.h"
#include "apps/training/json_text.h"
#include "apps/training/options.h"
#include "apps/training/progress.h"
#include "apps/training/run_folder.h"
#include "apps/training/text.h"
#include "engine/device.h"
#include "engine/usage.h"
#include "models/checkpoint.h"

namespace omniconv {
namespace {

struct AttentionCall {
  std::string checkpoint, data, out, temperature;
  std::optional<std::int64_t> images, threads;
  bool json = false;
};

void print_layers(const AttentionStatistics& statistics, Console& console) {
  std::size_t width = 0;
  for (const LayerAttention& layer : statistics.layers) width = std::max(width, layer.name.size());
  const int name_width = static_cast<int>(width);
  console.print(text("%-*s  attention  mean   from   to     deviation  entropy", name_width, "layer"));
  for (const LayerAttention& layer : statistics.layers)
    for (const AttentionMap& map : layer.maps) {
      const auto [low, high] = std::minmax_element(map.mean_all.begin(), map.mean_all.end());
      double mean = 0, deviation = 0;
      for (std::size_t i = 0; i < map.mean_all.size(); ++i) {
        mean += map.mean_all[i] / static_cast<double>(map.width);
        deviation += map.standard_deviation_all[i] / static_cast<double>(map.width);
      }
      const std::string entropy = map.attention == "kernel" ? text("%9.4f", map.entropy) : "        -";
      console.print(text("%-*s  %-9s  %.3f  %.3f  %.3f  %9.4f%s", name_width, layer.name.c_str(),
                         map.attention.c_str(), mean, *low, *high, deviation, entropy.c_str()));
    }
}

void attention(const AttentionCall& call) {
  const std::optional<double> temperature = parse_constant_temperature("attention", call.temperature);
  require_in("attention", call.images.value_or(1) >= 1, "--images of at least 1, got ", call.images.value_or(1));
  check_threads(call.threads);
  require_device();
  if (call.threads) set_threads(static_cast<int>(*call.threads));

  const LoadedModel loaded = load_model(call.checkpoint, DType::f32);
  const Model& model = *loaded.model;
  expect(model.config.dynamic(), "attention", call.checkpoint, ": expected a model with dynamic convolutions, got ",
         describe(model.config), ", which is static");
  const double used = set_temperature("attention", loaded, temperature);
  const ImageData data = load_data(call.data);
  expect_classes(model.config, data.class_names, "attention", call.data);
  const Dataset test(data.test);
  const std::int64_t images = std::min(call.images.value_or(test.count()), test.count());

  std::error_code error;
  std::filesystem::create_directories(call.out, error);
  expect(!error, "attention", call.out, ": expected a folder to write to, got: ", error.message());
  expect_writable("attention", call.out + "/attention.json");

  Console console(call.json ? stderr : stdout);
  console.print(
      text("%s, temperature %g on %s test images", describe(model.config).c_str(), used, grouped(images).c_str()));
  const AttentionStatistics statistics =
      attention_statistics(model, test, images, data.class_names, [&](std::int64_t done) {
        if (console.due()) console.show(concat(grouped(done), " of ", grouped(images), " images"));
      });
  write_attention(call.out, statistics);

  print_layers(statistics, console);
  std::size_t findings = 0;
  for (const LayerAttention& layer : statistics.layers)
    for (const Finding& finding : layer.findings) {
      if (findings++ == 0) console.print("");
      console.print(concat(layer.name, ": ", finding.text));
    }
  console.print(findings == 0 ? "No attention has collapsed." : concat(findings, " findings."));
  console.print(concat("Heat maps and attention.json are in ", call.out));
  if (call.json) std::printf("%s\n", json_line(to_json(statistics)).c_str());
}

}  // namespace

void add_attention(CLI::App& program, int& exit_code) {
  const auto call = std::make_shared<AttentionCall>();
  CLI::App& command =
      *program.add_subcommand("attention", "What the attentions of a checkpoint do, by layer and class.");
  command.add_option("--checkpoint", call->checkpoint, "Checkpoint (safetensors) of a dynamic ResNet")->required();
  command.add_option("--data", call->data, "Folder of a CIFAR-10 binary data set, or: synthetic")->required();
  command.add_option("--out", call->out, "Folder to write heat maps (PNG) and attention.json to")->required();
  command.add_option("--images", call->images, "Test images to look at, the first ones (default: all)");
  command.add_option("--temperature", call->temperature, "Of the attentions (default: the checkpoint's, else 1)");
  command.add_option("--threads", call->threads, "Host threads (no result depends on them)");
  command.add_flag("--json", call->json, "The content of attention.json on stdout, text on stderr");
  command.callback([call, &exit_code] {
    attention(*call);
    exit_code = 0;
  });
}

}  // namespace omniconv
