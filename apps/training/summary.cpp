#include "apps/training/summary.h"

#include <algorithm>

#include "apps/training/checkpoint.h"
#include "apps/training/text.h"
#include "engine/device.h"

namespace omniconv {
namespace {

std::string rate_text(const Recipe& recipe) {
  std::string result = text("lr %g, ", recipe.lr);
  if (recipe.lr_schedule == LearningRateSchedule::cosine) return result + "cosine to 0";
  result += text("times %g after epoch", recipe.lr_factor);
  for (const std::int64_t milestone : recipe.lr_milestones) result += concat(' ', milestone);
  return result;
}

std::string temperature_text(const TemperatureSchedule& schedule) {
  if (schedule.epochs == 0) return text("temperature %g", schedule.end);
  return text("temperature %g to %g over %lld epochs", schedule.start, schedule.end,
              static_cast<long long>(schedule.epochs));
}

}  // namespace

std::vector<std::string> header_lines(const Recipe& recipe, const Trainer& trainer, const std::string& folder) {
  const ModelConfig& model = trainer.model().config;
  std::string input = "crops and flips";
  if (!recipe.augment) input = "no augmentation";
  if (!recipe.shuffle) input += ", in file order";
  const std::string threads = device_kind() == "cpu" ? concat(", ", thread_count(), " threads") : "";
  std::vector<std::string> lines = {
      concat("model    ", describe(model), ": ", grouped(trainer.model().store.parameter_count()), " parameters"),
      concat("device   ", device_kind(), ", ", device_name(), threads,
             recipe.precision == DType::f32 ? "" : concat(", ", name_of(recipe.precision))),
      concat("data     ", recipe.data, ": ", grouped(trainer.train_count()), " training and ",
             grouped(trainer.test_count()), " test images"),
      concat("recipe   ", recipe.epochs, " epochs of ", trainer.steps_per_epoch(), " steps, batch ", recipe.batch_size,
             ", ", rate_text(recipe)),
      concat("         SGD momentum ", recipe.momentum, recipe.nesterov ? " (Nesterov)" : "", ", weight decay ",
             recipe.weight_decay, ", seed ", recipe.seed),
      concat("         ", input, model.dynamic() ? ", " + temperature_text(recipe.temperature) : ""),
  };
  const std::string inflated = recipe.inflate_noise ? concat(", inflated with noise ", *recipe.inflate_noise) : "";
  if (!recipe.init.empty()) lines.push_back(concat("start    ", recipe.init, inflated));
  if (trainer.finished_steps() > 0)
    lines.push_back(concat("resumed  at step ", trainer.finished_steps(), " of ", trainer.total_steps()));
  lines.push_back(concat("run      ", folder));
  lines.push_back("The best epoch is chosen by its test accuracy, so that figure is optimistic.");
  return lines;
}

std::string table_heading(bool dynamic) {
  return concat("epoch        lr", dynamic ? "       T" : "", "  train loss  accuracy   test loss  accuracy  images/s");
}

std::string table_line(const EpochMetrics& metrics, bool dynamic) {
  return text("%5lld  %8.5g", static_cast<long long>(metrics.epoch), metrics.lr) +
         (dynamic ? text("  %6.3g", metrics.temperature) : "") +
         text("  %10.4f  %8.4f  %10.4f  %8.4f  %8.1f", metrics.train_loss, metrics.train_accuracy, metrics.test_loss,
              metrics.test_accuracy, metrics.images_per_second);
}

const EpochMetrics& best_of(const std::vector<EpochMetrics>& history) {
  return *std::max_element(history.begin(), history.end(), [](const EpochMetrics& a, const EpochMetrics& b) {
    return a.test_accuracy < b.test_accuracy;
  });
}

std::string shell_word(const std::string& word) {
  const std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+,:=@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace omniconv
