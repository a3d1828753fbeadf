#include <cstdio>
#include <filesystem>
#include <memory>

#include "apps/commands.h"
#include "apps/export/onnx.h"
#include "apps/training/progress.h"
#include "apps/training/run_folder.h"
#include "apps/training/text.h"
#include "engine/device.h"
#include "models/checkpoint.h"

namespace omniconv {
namespace {

struct ExportCall {
  std::string checkpoint, out;
  std::int64_t opset = newest_opset;
};

void export_model(const ExportCall& call) {
  check_opset({}, call.opset);  // before anything is read
  require_device();
  const LoadedModel loaded = load_model(call.checkpoint, DType::f32);
  const Model& model = *loaded.model;
  expect_writable("export", call.out);
  export_onnx(model, model.config.image_size, call.opset, call.out);
  const std::string at = model.config.dynamic() ? text(" at temperature %g", loaded.temperature) : "";
  std::printf("%s%s as ONNX, opset %lld, in %s (%s bytes)\n", describe(model.config).c_str(), at.c_str(),
              static_cast<long long>(call.opset), call.out.c_str(),
              grouped(static_cast<std::int64_t>(std::filesystem::file_size(call.out))).c_str());
}

}  // namespace

void add_export(CLI::App& program, int& exit_code) {
  const auto call = std::make_shared<ExportCall>();
  CLI::App& command = *program.add_subcommand("export", "Write a checkpoint as an ONNX model.");
  command.add_option("--checkpoint", call->checkpoint, "Checkpoint (safetensors) of a ResNet, ours or PyTorch's")
      ->required();
  command.add_option("--out", call->out, "File to write")->required();
  command.add_option("--opset", call->opset, "ONNX operator set, 13 to 17");
  command.callback([call, &exit_code] {
    export_model(*call);
    exit_code = 0;
  });
}

}  // namespace omniconv
