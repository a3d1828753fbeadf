#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "apps/commands.h"
#include "apps/model_options.h"
#include "apps/training/batch_memory.h"
#include "apps/training/evaluator.h"
#include "apps/training/options.h"
#include "apps/training/progress.h"
#include "apps/training/run_folder.h"
#include "apps/training/text.h"
#include "engine/device.h"
#include "engine/usage.h"
#include "models/checkpoint.h"

namespace omniconv {
namespace {

struct EvalCall {
  std::string checkpoint, data, temperature, logits, precision = "f32", tta = "none", cuda_graph, images = "auto";
  std::int64_t batch_size = evaluation_batch_size;
  std::optional<std::int64_t> threads;
  bool json = false;
};

/// logits [images, classes] and labels i64 [images], in the order of the file.
void write_logits(const std::string& path, const Tensor& logits, const std::vector<std::uint8_t>& labels) {
  SafetensorsFile file;
  file.tensors["logits"] = dispatch("eval", logits.dtype(), [&](auto zero) {
    return make_host_tensor(logits.to_host<decltype(zero)>(), logits.shape());
  });
  file.tensors["labels"] = make_host_tensor(std::vector<std::int64_t>(labels.begin(), labels.end()), {logits.size(0)});
  write_safetensors(path, file);
}

void eval(const EvalCall& call) {
  const DType precision = parse_precision(call.precision);
  const std::vector<View> views = parse_views(call.tta);
  const std::optional<Residence> residence = parse_residence(call.images);
  const std::optional<double> temperature = parse_constant_temperature("eval", call.temperature);
  require_in("eval", call.batch_size >= 1, "--batch-size of at least 1, got ", call.batch_size);
  check_threads(call.threads);
  set_cuda_graph(call.cuda_graph);
  require_device();
  if (call.threads) set_threads(static_cast<int>(*call.threads));

  const LoadedModel loaded = load_model(call.checkpoint, precision);
  const Model& model = *loaded.model;
  const double used = set_temperature("eval", loaded, temperature);
  ImageData data = load_data(call.data);
  expect_classes(model.config, data.class_names, "eval", call.data);
  if (!call.logits.empty()) expect_writable("eval", call.logits);

  Console console(call.json ? stderr : stdout);
  const std::string of_model = model.config.dynamic() ? text(", temperature %g", used) : "";
  const std::string seen = views.size() > 1 ? concat(", each in ", views.size(), " views") : "";
  const std::vector<std::uint8_t> labels = data.test.labels;
  const Dataset dataset(std::move(data.test), residence);
  console.print(concat(describe(model.config), of_model, " on ", grouped(dataset.count()), " test images", seen, ", ",
                       phrase_of(dataset.residence())));
  const Tensor logits =
      call.logits.empty() ? Tensor() : Tensor::empty({dataset.count(), model.config.classes}, model.store.dtype());
  const auto show = [&](std::int64_t done) {
    if (console.due()) console.show(concat(grouped(done), " of ", grouped(dataset.count()), " images"));
  };
  const Evaluation result =
      within_memory(call.batch_size, [&] { return evaluate(model, dataset, call.batch_size, logits, show, views); });
  if (!call.logits.empty()) write_logits(call.logits, logits, labels);
  console.print(text("test accuracy %.4f   test loss %.4f", result.accuracy, result.loss));
  if (!call.json) return;
  const nlohmann::ordered_json json = {
      {"test_accuracy", result.accuracy}, {"test_loss", result.loss}, {"images", result.images}};
  std::printf("%s\n", json.dump().c_str());
}

}  // namespace

void add_eval(CLI::App& program, int& exit_code) {
  const auto call = std::make_shared<EvalCall>();
  CLI::App& command = *program.add_subcommand("eval", "Loss and accuracy of a checkpoint on the test images.");
  command.add_option("--checkpoint", call->checkpoint, "Checkpoint (safetensors) of a ResNet, ours or PyTorch's")
      ->required();
  command.add_option("--data", call->data, "Folder of a CIFAR-10 binary data set, or: synthetic")->required();
  command.add_option("--batch-size", call->batch_size, "Images at a time");
  command.add_option("--temperature", call->temperature, "Of the attentions (default: the checkpoint's, else 1)");
  command.add_option("--tta", call->tta, "Average the logits over views of an image: none, flip, shift, flip,shift");
  command.add_option("--logits", call->logits, "Write logits and labels to this file (safetensors)");
  command.add_option("--precision", call->precision, precision_help);
  command.add_option("--threads", call->threads, "Host threads (no result depends on them)");
  command.add_option("--cuda-graph", call->cuda_graph, cuda_graph_help);
  command.add_option("--images", call->images, images_help);
  command.add_flag("--json", call->json, "The result as one JSON object on stdout, text on stderr");
  command.callback([call, &exit_code] {
    eval(*call);
    exit_code = 0;
  });
}

}  // namespace omniconv
