#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "apps/commands.h"
#include "apps/model_options.h"
#include "apps/report/probabilities.h"
#include "apps/training/evaluator.h"
#include "apps/training/json_text.h"
#include "apps/training/options.h"
#include "apps/training/text.h"
#include "data/cifar10.h"
#include "data/picture.h"
#include "engine/device.h"
#include "engine/usage.h"
#include "models/checkpoint.h"

namespace omniconv {
namespace {

struct PredictCall {
  std::string checkpoint, data, temperature;
  std::vector<std::string> images;
  std::int64_t top = 5;
  std::optional<std::int64_t> threads;
  bool json = false;
};

/// Names of the model's classes: those of `data`, else the checkpoint's, else "class 0", "class 1", ...
std::vector<std::string> class_names(const ModelConfig& config, const std::string& data) {
  std::vector<std::string> names = data.empty() ? config.class_names : read_class_names(data);
  if (!data.empty()) expect_classes(config, names, "predict", data);
  for (auto label = static_cast<std::int64_t>(names.size()); label < config.classes; ++label)
    names.push_back(concat("class ", label));
  return names;
}

void print_text(const std::string& image, const std::vector<Prediction>& predictions,
                const std::vector<std::string>& names) {
  std::printf("%s\n", one_line(image).c_str());
  for (const Prediction& prediction : predictions)
    std::printf("  %.4f  %s\n", prediction.probability,
                one_line(names[static_cast<std::size_t>(prediction.label)]).c_str());
}

nlohmann::ordered_json to_json(const std::string& image, const std::vector<Prediction>& predictions,
                               const std::vector<std::string>& names) {
  nlohmann::ordered_json classes = nlohmann::ordered_json::array();
  for (const Prediction& prediction : predictions)
    classes.push_back({{"class", names[static_cast<std::size_t>(prediction.label)]},
                       {"label", prediction.label},
                       {"probability", prediction.probability}});
  return {{"image", image}, {"classes", classes}};
}

void predict(const PredictCall& call) {
  const std::optional<double> temperature = parse_constant_temperature("predict", call.temperature);
  require_in("predict", call.top >= 1, "--top of at least 1, got ", call.top);
  check_threads(call.threads);
  require_device();
  if (call.threads) set_threads(static_cast<int>(*call.threads));

  const LoadedModel loaded = load_model(call.checkpoint, DType::f32);
  const Model& model = *loaded.model;
  set_temperature("predict", loaded, temperature);
  const std::int64_t classes = model.config.classes;
  const std::vector<std::string> names = class_names(model.config, call.data);
  ImageSet set;
  set.extent = model.config.image_size;
  for (const std::string& path : call.images) {
    const std::vector<std::uint8_t> planes = resize_to_planes(read_picture(path), set.extent);
    set.images.insert(set.images.end(), planes.begin(), planes.end());
    set.labels.push_back(0);  // what they show is not known; nothing below asks
  }
  const Tensor logits = Tensor::empty({set.count(), classes}, DType::f32);
  evaluate(model, Dataset(set), evaluation_batch_size, logits);
  const std::vector<double> values = logits.to_doubles();

  nlohmann::ordered_json json = {{"predictions", nlohmann::ordered_json::array()}};
  for (std::size_t i = 0; i < call.images.size(); ++i) {
    const auto count = static_cast<std::size_t>(classes);
    const std::vector<Prediction> predictions = most_probable(std::span(values).subspan(i * count, count), call.top);
    if (call.json)
      json["predictions"].push_back(to_json(call.images[i], predictions, names));
    else
      print_text(call.images[i], predictions, names);
  }
  if (call.json) std::printf("%s\n", json_line(json).c_str());
}

}  // namespace

void add_predict(CLI::App& program, int& exit_code) {
  const auto call = std::make_shared<PredictCall>();
  CLI::App& command = *program.add_subcommand("predict", "What a checkpoint sees in pictures of your own.");
  command.add_option("--checkpoint", call->checkpoint, "Checkpoint (safetensors) of a ResNet, ours or PyTorch's")
      ->required();
  command.add_option("IMAGE", call->images, "PNG, JPEG or BMP files of any size")->required();
  command.add_option("--data", call->data, "Folder whose batches.meta.txt names the classes (default: the checkpoint)");
  command.add_option("--top", call->top, "Classes to show of each picture, the most probable first");
  command.add_option("--temperature", call->temperature, "Of the attentions (default: the checkpoint's, else 1)");
  command.add_option("--threads", call->threads, "Host threads (no result depends on them)");
  command.add_flag("--json", call->json, "The result as one JSON object on stdout");
  command.callback([call, &exit_code] {
    predict(*call);
    exit_code = 0;
  });
}

}  // namespace omniconv
