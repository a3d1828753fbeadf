#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/commands.h"
#include "apps/export/finetune.h"
#include "apps/training/evaluator.h"
#include "apps/training/json_text.h"
#include "apps/training/options.h"
#include "apps/training/progress.h"
#include "apps/training/run_folder.h"
#include "apps/training/text.h"
#include "data/batches.h"
#include "engine/device.h"
#include "engine/usage.h"
#include "models/checkpoint.h"
#include "models/folding.h"
#include "models/static_conversion.h"

namespace omniconv {
namespace {

struct ConvertCall {
  std::string checkpoint, to, data, out;
  std::int64_t samples = 2048;
  FinetuneRecipe finetune;
  std::vector<const CLI::Option*> static_options;  // those that `--to folded` has no use for
  std::int64_t seed = 0;
  std::optional<std::int64_t> threads;
  bool json = false;
};

void check(const ConvertCall& call) {
  const auto require = [](bool condition, const auto&... parts) { require_in("convert", condition, parts...); };
  require(call.to == "static" || call.to == "folded", "--to static or folded, got ", call.to);
  if (call.to == "folded") {
    for (const CLI::Option* option : call.static_options)
      require(option->count() == 0, option->get_name(), " with --to static, got it with --to folded");
    return;
  }
  require(!call.data.empty(), "--data with the training images to calibrate on, got none");
  require(call.samples >= 2, "--samples of at least 2, got ", call.samples);
  require(call.finetune.epochs >= 0, "--finetune of at least 0 epochs, got ", call.finetune.epochs);
  require(call.finetune.batch_size >= 2, "--batch-size of at least 2, got ", call.finetune.batch_size);
  require(call.finetune.lr > 0 && call.finetune.lr <= 1e3, "--finetune-lr above 0 and at most 1000, got ",
          call.finetune.lr);
  require(call.seed >= 0, "--seed of at least 0, got ", call.seed);
}

/// Data for a checkpoint: with as many classes, and images of its size.
ImageData data_for(const Model& model, const std::string& path) {
  ImageData data = load_data(path);
  expect_classes(model.config, data.class_names, "convert", path);
  const std::int64_t size = model.config.image_size;
  expect(data.train.extent == size, "convert", path, ": expected images of ", size, "x", size,
         ", which the checkpoint is meant for, got ", data.train.extent, "x", data.train.extent);
  return data;
}

/// `samples` of the training images, or all, drawn from the seed: [N, 32, 32, 3].
Tensor calibration_images(const Dataset& train, std::int64_t samples, std::uint64_t seed) {
  const Tensor order = Tensor::from_host(epoch_order(train.count(), seed, 0, true));
  return train.gather(order.view(0, {std::min(samples, train.count())}), DType::f32).images;
}

/// What a conversion says about itself, for people and for machines.
class Findings {
 public:
  Findings(Console& console, const ConvertCall& call) : console_(console) {
    json_["checkpoint"] = call.checkpoint;
    json_["to"] = call.to;
    json_["out"] = call.out;
  }
  void layers(const std::vector<ConvertedLayer>& layers) {
    std::size_t width = 0;
    for (const ConvertedLayer& layer : layers) width = std::max(width, layer.name.size());
    console_.print(text("%-*s  relative error", static_cast<int>(width), "layer"));
    for (const ConvertedLayer& layer : layers) {
      console_.print(text("%-*s  %14.4f", static_cast<int>(width), layer.name.c_str(), layer.relative_error));
      json_["layers"].push_back({{"name", layer.name}, {"relative_error", layer.relative_error}});
    }
  }
  void accuracy(const char* when, const Evaluation& test) {
    console_.print(text("%-10s test accuracy %.4f   test loss %.4f", when, test.accuracy, test.loss));
    json_[when] = {{"test_accuracy", test.accuracy}, {"test_loss", test.loss}};
  }
  const nlohmann::ordered_json& json() const { return json_; }

 private:
  Console& console_;
  nlohmann::ordered_json json_;
};

std::unique_ptr<Model> to_static(const Model& model, const ImageData& data, const ConvertCall& call, Console& console,
                                 Findings& findings) {
  const Dataset train(data.train), test(data.test);
  findings.accuracy("before", evaluate(model, test));
  const auto seed = static_cast<std::uint64_t>(call.seed);
  StaticConversion conversion;
  {
    const Tensor images = calibration_images(train, call.samples, seed);
    console.print(concat("calibrating on ", grouped(images.size(0)), " training images"));
    conversion = convert_to_static(model, images);
  }
  findings.layers(conversion.layers);
  findings.accuracy("after", evaluate(*conversion.model, test));
  if (call.finetune.epochs > 0) {
    FinetuneRecipe recipe = call.finetune;
    recipe.seed = seed;
    finetune(*conversion.model, train, recipe, [&](std::int64_t epoch, double loss) {
      console.print(text("fine-tuning: epoch %lld of %lld, train loss %.4f", static_cast<long long>(epoch),
                         static_cast<long long>(recipe.epochs), loss));
    });
    findings.accuracy("finetuned", evaluate(*conversion.model, test));
  }
  return std::move(conversion.model);
}

std::unique_ptr<Model> to_folded(const Model& model, const std::optional<ImageData>& data, Findings& findings) {
  std::unique_ptr<Model> folded = fold(model);
  if (data) {
    const Dataset test(data->test);
    findings.accuracy("before", evaluate(model, test));
    findings.accuracy("after", evaluate(*folded, test));
  }
  return folded;
}

void convert(const ConvertCall& call) {
  check(call);
  check_threads(call.threads);
  require_device();
  if (call.threads) set_threads(static_cast<int>(*call.threads));
  const LoadedModel loaded = load_model(call.checkpoint, DType::f32);
  const Model& model = *loaded.model;
  expect(call.to == "folded" || model.config.dynamic(), "convert", call.checkpoint, ": expected a dynamic model, got ",
         describe(model.config), ", which is static already");
  expect(!model.config.folded, "convert", call.checkpoint, ": expected a model with batch norms, got ",
         describe(model.config), ": take the checkpoint that was folded");
  std::optional<ImageData> data;
  if (!call.data.empty()) data = data_for(model, call.data);
  expect_writable("convert", call.out);

  Console console(call.json ? stderr : stdout);
  console.print(describe(model.config));
  Findings findings(console, call);
  const std::unique_ptr<Model> converted =
      call.to == "static" ? to_static(model, *data, call, console, findings) : to_folded(model, data, findings);
  write_safetensors(call.out, model_file(*converted, converted->config.dynamic() ? loaded.temperature : 1));
  console.print(concat(describe(converted->config), ", ", grouped(converted->store.parameter_count()),
                       " parameters, in ", call.out));
  if (call.json) std::printf("%s\n", json_line(findings.json()).c_str());
}

}  // namespace

void add_convert(CLI::App& program, int& exit_code) {
  const auto call = std::make_shared<ConvertCall>();
  CLI::App& command = *program.add_subcommand("convert", "Turn a checkpoint into a static or a folded one.");
  command.add_option("--checkpoint", call->checkpoint, "Checkpoint (safetensors) of a ResNet, ours or PyTorch's")
      ->required();
  command.add_option("--to", call->to, "static: plain convolutions, right on average; folded: no batch norms, exact")
      ->required();
  command.add_option("--data", call->data, "Folder of a CIFAR-10 binary data set, or: synthetic");
  command.add_option("--out", call->out, "File to write")->required();
  const auto of_static = [&](CLI::Option* option) { call->static_options.push_back(option); };
  of_static(command.add_option("--samples", call->samples, "Training images to calibrate on; all at most"));
  of_static(command.add_option("--finetune", call->finetune.epochs, "Epochs of fine-tuning after the conversion"));
  of_static(command.add_option("--finetune-lr", call->finetune.lr, "Its learning rate, which falls to 0"));
  of_static(command.add_option("--batch-size", call->finetune.batch_size, "Its images in a step"));
  of_static(command.add_option("--seed", call->seed, "Of the choice of images, their order and augmentation"));
  command.add_option("--threads", call->threads, "Host threads (no result depends on them)");
  command.add_flag("--json", call->json, "The result as one JSON object on stdout, text on stderr");
  command.callback([call, &exit_code] {
    convert(*call);
    exit_code = 0;
  });
}

}  // namespace omniconv
