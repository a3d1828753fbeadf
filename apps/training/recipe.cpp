#include "apps/training/recipe.h"

#include <cmath>
#include <set>

#include "apps/training/require.h"
#include "engine/files.h"

namespace omniconv {
namespace {

constexpr std::int64_t largest_batch = 1'000'000;

void check_selection(const Recipe& recipe) {
  require(recipe.validation >= 0, "--validation of at least 0 images, got ", recipe.validation);
  require(recipe.validation > 0 || !recipe.stratified, "--validation with --stratified, got none");
  require(recipe.test_every >= 0, "--test-every of at least 0 epochs, got ", recipe.test_every);
  require(recipe.validation > 0 || recipe.test_every == 0,
          "--validation with --test-every, got none: without it the test set is evaluated after every epoch");
}

void check_stages(const Recipe& recipe) {
  if (recipe.stages.empty()) return;
  check(recipe.stages);
  require(epochs_of(recipe.stages) == recipe.epochs, "--epochs of ", epochs_of(recipe.stages),
          ", as the stages have in all, got ", recipe.epochs);
  for (const Stage& stage : recipe.stages)
    require(recipe.model.dynamic() || stage.train == TrainedPart::all,
            "stages that train all of a model without attention, got ", name_of(stage.train), " in stage ", stage.name,
            " of ", recipe.model.model);
}

void check_augmentation(const Recipe& recipe) {
  require(recipe.cutout >= 0, "--cutout of at least 0, got ", recipe.cutout);
  for (const auto& [name, alpha] : {std::pair("--mixup", recipe.mixing.mixup), {"--cutmix", recipe.mixing.cutmix}})
    require(alpha >= 0 && alpha <= largest_mixing_alpha, name, " in [0, ", largest_mixing_alpha, "], got ", alpha);
  const bool varied = recipe.cutout > 0 || recipe.mixing.enabled() || recipe.flip == kernels::Flip::alternating;
  require(recipe.augment || !varied,
          "--no-augment without --cutout, --mixup, --cutmix and --flip alternating, got both");
}

}  // namespace

LearningRateSchedule parse_learning_rate_schedule(std::string_view text) {
  if (text == "cosine") return LearningRateSchedule::cosine;
  if (text == "step") return LearningRateSchedule::step;
  throw UsageError(concat("[options] expected --lr-schedule cosine or step, got ", in_quotes(text)));
}

kernels::Flip parse_flip(std::string_view text) {
  if (text == "random") return kernels::Flip::random;
  if (text == "alternating") return kernels::Flip::alternating;
  if (text == "never") return kernels::Flip::never;
  throw UsageError(concat("[options] expected --flip random, alternating or never, got ", in_quotes(text)));
}

DType parse_precision(std::string_view text) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64})
    if (text == omniconv::name_of(dtype)) return dtype;
  throw UsageError(concat("[options] expected --precision f32, bf16, f16 or f64, got ", in_quotes(text)));
}

std::string_view name_of(LearningRateSchedule schedule) {
  return schedule == LearningRateSchedule::cosine ? "cosine" : "step";
}

std::string_view name_of(kernels::Flip flip) {
  switch (flip) {
    case kernels::Flip::never:
      return "never";
    case kernels::Flip::random:
      return "random";
    case kernels::Flip::alternating:
      return "alternating";
  }
  return "unknown";
}

void check(const Recipe& recipe) {
  check(recipe.model);
  require(recipe.epochs >= 1 && recipe.epochs <= most_epochs, "--epochs of 1 to ", most_epochs, ", got ",
          recipe.epochs);
  require(recipe.batch_size >= 1 && recipe.batch_size <= largest_batch, "--batch-size of 1 to ", largest_batch,
          ", got ", recipe.batch_size);
  const bool norm_over_batch = recipe.model.dynamic() && recipe.model.attention_norm == AttentionNorm::batch;
  require(recipe.batch_size >= 2 || !norm_over_batch,
          "--batch-size of at least 2, got 1: the attention's batch norm averages over the batch, so take a larger "
          "batch or --attention-norm layer");
  require(std::isfinite(recipe.lr) && recipe.lr >= 0, "a finite --lr of at least 0, got ", recipe.lr);
  require(recipe.momentum >= 0 && recipe.momentum < 1, "--momentum in [0, 1), got ", recipe.momentum);
  require(std::isfinite(recipe.weight_decay) && recipe.weight_decay >= 0, "a finite --weight-decay of at least 0, got ",
          recipe.weight_decay);
  require(!recipe.nesterov || recipe.momentum > 0, "--momentum above 0 with --nesterov, got 0");
  require(!recipe.inflate_noise || (std::isfinite(*recipe.inflate_noise) && *recipe.inflate_noise >= 0),
          "a finite --inflate-noise of at least 0, got ", recipe.inflate_noise.value_or(0));
  require(recipe.seed >= 0, "--seed of at least 0, got ", recipe.seed);
  require(std::isfinite(recipe.lr_factor) && recipe.lr_factor > 0, "a finite --lr-factor above 0, got ",
          recipe.lr_factor);
  const bool steps = recipe.lr_schedule == LearningRateSchedule::step;
  require(steps == !recipe.lr_milestones.empty(),
          "--lr-milestones with --lr-schedule step and with nothing else, got --lr-schedule ",
          name_of(recipe.lr_schedule), steps ? " without them" : " with them");
  for (const std::int64_t milestone : recipe.lr_milestones)
    require(milestone >= 1, "--lr-milestones of at least 1, got ", milestone);
  require(recipe.warmup >= 0 && recipe.warmup < recipe.epochs, "--warmup of at least 0 and below the ", recipe.epochs,
          " epochs, got ", recipe.warmup);
  require(recipe.label_smoothing >= 0 && recipe.label_smoothing < 1, "--label-smoothing in [0, 1), got ",
          recipe.label_smoothing);
  require(std::isfinite(recipe.clip_norm) && recipe.clip_norm >= 0, "a finite --clip-norm of at least 0, got ",
          recipe.clip_norm);
  std::set<std::string> kinds;
  for (const std::string& kind : recipe.no_decay)
    require((kind == "bn" || kind == "bias") && kinds.insert(kind).second, "--no-decay bn, bias or bn,bias, got ",
            in_quotes(kind), kinds.contains(kind) ? " twice" : "");
  require(recipe.ema >= 0 && recipe.ema < 1, "--ema in [0, 1), got ", recipe.ema);
  check_augmentation(recipe);
  check_selection(recipe);
  require(!recipe.temperature_guard || (recipe.model.dynamic() && recipe.temperature.epochs > 0),
          "--temperature-guard with an attention and a temperature that changes, got ", recipe.model.model, " at ",
          format_temperature(recipe.temperature));
  require(!recipe.temperature_guard || recipe.stages.empty(), "--temperature-guard or --stages, got both");
  check_stages(recipe);
  const std::int64_t smallest_part = recipe.accumulate < 1 ? 0 : recipe.batch_size / recipe.accumulate;
  require(smallest_part >= 1, "--accumulate of 1 to the batch size of ", recipe.batch_size, ", got ",
          recipe.accumulate);
  require(smallest_part >= 2 || !norm_over_batch, "parts of at least 2 images with --accumulate, got ",
          recipe.accumulate, " parts of ", recipe.batch_size,
          " images: the attention's batch norm averages over a part, so take fewer or --attention-norm layer");
}

double learning_rate_at(const Recipe& recipe, std::int64_t finished_steps, std::int64_t steps_per_epoch) {
  const std::int64_t epoch = finished_steps / steps_per_epoch;
  const double rate = recipe.lr_schedule == LearningRateSchedule::cosine
                          ? cosine_learning_rate(recipe.lr, epoch, recipe.epochs)
                          : step_learning_rate(recipe.lr, epoch, recipe.lr_milestones, recipe.lr_factor);
  const Stage* const stage = stage_of(recipe, finished_steps, steps_per_epoch);
  const double factor = stage == nullptr ? 1 : stage->lr_factor;
  if (epoch >= recipe.warmup) return factor * rate;
  return factor * rate * static_cast<double>(finished_steps + 1) / static_cast<double>(recipe.warmup * steps_per_epoch);
}

const Stage* stage_of(const Recipe& recipe, std::int64_t finished_steps, std::int64_t steps_per_epoch) {
  if (recipe.stages.empty()) return nullptr;
  return &recipe.stages[stage_at(recipe.stages, finished_steps, steps_per_epoch).index];
}

double temperature_at(const Recipe& recipe, std::int64_t finished_steps, std::int64_t steps_per_epoch) {
  if (recipe.stages.empty()) return temperature_at(recipe.temperature, finished_steps, steps_per_epoch);
  const StagePosition position = stage_at(recipe.stages, finished_steps, steps_per_epoch);
  return temperature_at(recipe.stages[position.index].temperature, finished_steps - position.steps_before,
                        steps_per_epoch);
}

}  // namespace omniconv
