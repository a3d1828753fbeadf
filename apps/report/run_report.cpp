#include "apps/report/run_report.h"

#include <filesystem>

#include "apps/report/pages.h"
#include "apps/training/evaluator.h"
#include "apps/training/run_folder.h"
#include "engine/files.h"
#include "models/checkpoint.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "report";
/// Images from which attention maps are drawn: more would not change what is seen.
constexpr std::int64_t attention_images = 1000;

RunDetails details_of(const RunRecord& run, const std::string& data_path) {
  const RunFolder folder(run.path);
  std::error_code error;
  RunDetails details;
  details.checkpoint =
      std::filesystem::exists(folder.file(RunFolder::best_name), error) ? RunFolder::best_name : RunFolder::last_name;
  const LoadedModel loaded = load_model(folder.file(details.checkpoint.c_str()), DType::f32);
  const Model& model = *loaded.model;
  const ImageData data = load_data(data_path);
  expect_classes(model.config, data.class_names, where, data_path);
  const Tensor logits = Tensor::empty({data.test.count(), model.config.classes}, DType::f32);
  const Dataset test(data.test);
  evaluate(model, test, evaluation_batch_size, logits);
  details.test = test_results(logits.to_doubles(), data.test, data.class_names);
  if (model.config.dynamic()) details.attention = attention_statistics(model, test, attention_images, data.class_names);
  return details;
}

}  // namespace

void write_run_report(const std::string& run_folder, const std::string& data, const std::string& out) {
  const RunRecord run = read_run(run_folder);
  expect_writable(where, out);
  write_file(where, out, run_page(run, details_of(run, data.empty() ? run.setting("data") : data)));
}

}  // namespace omniconv
