#include "apps/training/summary.h"

#include "apps/training/text.h"
#include "engine/device.h"

namespace omniconv {
namespace {

std::string rate_text(const Recipe& recipe) {
  std::string result = text("lr %g, ", recipe.lr);
  if (recipe.warmup > 0)
    result += concat("warm-up over ", recipe.warmup, recipe.warmup == 1 ? " epoch, " : " epochs, ");
  if (recipe.lr_schedule == LearningRateSchedule::cosine) return result + "cosine to 0";
  result += text("times %g after epoch", recipe.lr_factor);
  for (const std::int64_t milestone : recipe.lr_milestones) result += concat(' ', milestone);
  return result;
}

std::string input_text(const Recipe& recipe) {
  std::string result = recipe.augment ? "crops" : "no augmentation";
  if (recipe.augment && recipe.flip != kernels::Flip::never)
    result += recipe.flip == kernels::Flip::random ? " and flips" : " and alternating flips";
  if (recipe.cutout > 0) result += concat(", cutout ", recipe.cutout);
  if (recipe.mixing.mixup > 0) result += concat(", mixup ", recipe.mixing.mixup);
  if (recipe.mixing.cutmix > 0) result += concat(", CutMix ", recipe.mixing.cutmix);
  return recipe.shuffle ? result : result + ", in file order";
}

/// What goes beyond plain SGD, each with a comma before it.
std::string refinements_text(const Recipe& recipe) {
  std::string result;
  if (recipe.label_smoothing > 0) result += concat(", label smoothing ", recipe.label_smoothing);
  if (recipe.clip_norm > 0) result += concat(", gradients clipped to ", recipe.clip_norm);
  for (std::size_t i = 0; i < recipe.no_decay.size(); ++i)
    result += (i == 0 ? ", no decay on " : " and ") + recipe.no_decay[i];
  if (recipe.ema > 0) result += concat(", EMA ", recipe.ema);
  if (recipe.accumulate > 1) result += concat(", in ", recipe.accumulate, " parts");
  return result;
}

std::string temperature_text(const TemperatureSchedule& schedule) {
  if (schedule.epochs == 0 && schedule.end == neutral_temperature) return "neutral attention";
  if (schedule.epochs == 0) return text("temperature %g", schedule.end);
  return text("temperature %g to %g over %lld epochs (%s)", schedule.start, schedule.end,
              static_cast<long long>(schedule.epochs), std::string(name_of(schedule.shape)).c_str());
}

}  // namespace

std::vector<std::string> header_lines(const Recipe& recipe, const Trainer& trainer, const std::string& folder) {
  const ModelConfig& model = trainer.model().config;
  const std::string threads = device_kind() == "cpu" ? concat(", ", thread_count(), " threads") : "";
  std::vector<std::string> lines = {
      concat("model    ", describe(model), ": ", grouped(trainer.model().store.parameter_count()), " parameters"),
      concat("device   ", device_kind(), ", ", device_name(), threads,
             recipe.precision == DType::f32 ? "" : concat(", ", name_of(recipe.precision))),
      concat("data     ", recipe.data, ": ", grouped(trainer.train_count()), " training",
             trainer.validation_count() > 0 ? concat(", ", grouped(trainer.validation_count()), " validation") : "",
             " and ", grouped(trainer.test_count()), " test images, ", phrase_of(trainer.residence())),
      concat("recipe   ", recipe.epochs, " epochs of ", trainer.steps_per_epoch(), " steps, batch ", recipe.batch_size,
             ", ", rate_text(recipe)),
      concat("         SGD momentum ", recipe.momentum, recipe.nesterov ? " (Nesterov)" : "", ", weight decay ",
             recipe.weight_decay, ", seed ", recipe.seed, refinements_text(recipe)),
      concat("         ", input_text(recipe),
             model.dynamic() && recipe.stages.empty()
                 ? ", " + temperature_text(recipe.temperature) + (recipe.temperature_guard ? ", guarded" : "")
                 : ""),
  };
  for (const Stage& stage : recipe.stages)
    lines.push_back(concat("stage    ", stage.name, ": ", stage.epochs, stage.epochs == 1 ? " epoch" : " epochs",
                           ", trains ", name_of(stage.train), ", ", temperature_text(stage.temperature),
                           stage.lr_factor == 1 ? "" : concat(", lr times ", stage.lr_factor)));
  const std::string inflated = recipe.inflate_noise ? concat(", inflated with noise ", *recipe.inflate_noise) : "";
  if (!recipe.init.empty()) lines.push_back(concat("start    ", recipe.init, inflated));
  if (trainer.finished_steps() > 0)
    lines.push_back(concat("resumed  at step ", trainer.finished_steps(), " of ", trainer.total_steps()));
  lines.push_back(concat("run      ", folder));
  lines.push_back(recipe.validation > 0
                      ? "The best epoch is chosen by its accuracy on the images held out for validation."
                      : "The best epoch is chosen by its test accuracy, so that figure is optimistic.");
  return lines;
}

std::string table_heading(bool dynamic, bool validated) {
  return concat("epoch        lr", dynamic ? "       T" : "", "  train loss  accuracy   ", validated ? " val" : "test",
                " loss  accuracy  images/s");
}

std::string table_line(const EpochMetrics& metrics, bool dynamic) {
  const bool validated = metrics.val_loss.has_value();
  return text("%5lld  %8.5g", static_cast<long long>(metrics.epoch), metrics.lr) +
         (dynamic ? text("  %6.3g", metrics.temperature) : "") +
         text("  %10.4f  %8.4f  %10.4f  %8.4f  %8.1f", metrics.train_loss, metrics.train_accuracy,
              (validated ? metrics.val_loss : metrics.test_loss).value_or(0), metrics.chosen_by(),
              metrics.images_per_second);
}

std::string shell_word(const std::string& word) {
  const std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+,:=@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace omniconv
