#include "apps/training/plan.h"

#include <algorithm>
#include <array>
#include <set>

#include "apps/training/progress.h"
#include "apps/training/text.h"
#include "data/images.h"
#include "engine/allocator.h"

namespace omniconv {
namespace {

/// The most bytes that a pass over `images` images adds to what is in use.
double bytes_of_pass(const Recipe& recipe, Trainer& trainer, std::int64_t images) {
  const std::size_t before = memory_statistics().in_use_bytes;
  reset_peak_memory();
  const std::int64_t size = recipe.model.image_size;
  const Batch batch{Tensor::zeros({images, size, size, image_channels}, recipe.precision),
                    Tensor::zeros({images}, DType::i32)};
  trainer.model().store.begin_gradients();
  add_gradients(trainer.model(), trainer.sgd(), batch, {}, nullptr);
  return static_cast<double>(memory_statistics().peak_bytes) - static_cast<double>(before);
}

/// "layer1.0" of "layer1.0.conv1.attention.fc.weight", "conv1" of "conv1.weight".
std::string block_of(const std::string& name) {
  const std::size_t first = name.find('.');
  return name.starts_with("layer") ? name.substr(0, name.find('.', first + 1)) : name.substr(0, first);
}

std::vector<std::string> model_table(const Model& model) {
  std::vector<std::pair<std::string, std::array<std::int64_t, 2>>> rows;  // all, and the attention's
  for (const ParameterStore::Entry& entry : model.store.entries()) {
    if (!entry.trained) continue;
    const std::string block = block_of(entry.spec.name);
    if (rows.empty() || rows.back().first != block) rows.push_back({block, {0, 0}});
    const std::int64_t count = element_count(entry.spec.shape);
    rows.back().second[0] += count;
    if (entry.spec.name.find(".attention.") != std::string::npos) rows.back().second[1] += count;
  }
  std::vector<std::string> lines = {"block        parameters   of attention"};
  for (const auto& [block, counts] : rows)
    lines.push_back(text("%-10s %12s   %12s", block.c_str(), grouped(counts[0]).c_str(), grouped(counts[1]).c_str()));
  const Cost cost = model.net.cost(model.config.image_size, model.config.image_size);
  lines.push_back(concat("An image costs ", grouped(cost.total()), " multiply-accumulates forward."));
  return lines;
}

/// Epochs (from 0) that show how the schedule goes: about a dozen, evenly, and the first ones of stages.
std::set<std::int64_t> shown_epochs(const Recipe& recipe) {
  constexpr std::int64_t wanted = 12;
  std::set<std::int64_t> epochs = {recipe.epochs - 1};
  for (std::int64_t i = 0; i < wanted; ++i) epochs.insert(i * recipe.epochs / wanted);
  std::int64_t begin = 0;
  for (const Stage& stage : recipe.stages) {
    epochs.insert(begin);
    begin += stage.epochs;
  }
  return epochs;
}

std::vector<std::string> schedule_table(const Recipe& recipe, std::int64_t steps) {
  std::vector<std::string> lines = {"epoch        lr       T  stage (at the first step of the epoch)"};
  for (const std::int64_t epoch : shown_epochs(recipe)) {
    const std::int64_t step = epoch * steps;
    const Stage* const stage = stage_of(recipe, step, steps);
    lines.push_back(text("%5lld  %8.5g  %6.3g  %s", static_cast<long long>(epoch + 1),
                         learning_rate_at(recipe, step, steps), temperature_at(recipe, step, steps),
                         stage == nullptr ? "-" : stage->name.c_str()));
  }
  return lines;
}

}  // namespace

std::int64_t estimate_peak_bytes(const Recipe& recipe, Trainer& trainer) {
  constexpr std::int64_t few = 4, more = 8;
  const double of_few = bytes_of_pass(recipe, trainer, few), of_more = bytes_of_pass(recipe, trainer, more);
  const double per_image = (of_more - of_few) / static_cast<double>(more - few);
  const std::int64_t batch = std::min(recipe.batch_size, trainer.train_count());
  const auto images = static_cast<double>((batch + recipe.accumulate - 1) / recipe.accumulate);
  const double pass = of_few + per_image * (images - static_cast<double>(few));
  return static_cast<std::int64_t>(memory_statistics().in_use_bytes) + static_cast<std::int64_t>(std::max(0.0, pass));
}

std::vector<std::string> plan_lines(const Recipe& recipe, const Trainer& trainer, std::int64_t peak_bytes) {
  std::vector<std::string> lines = model_table(trainer.model());
  constexpr double mebibyte = 1 << 20;
  lines.push_back("");
  lines.push_back(text("About %.0f MiB of tensors at most, of which %sthe weights and the optimizer are %.0f.",
                       static_cast<double>(peak_bytes) / mebibyte,
                       trainer.residence() == Residence::device ? "the data set, " : "",
                       static_cast<double>(memory_statistics().in_use_bytes) / mebibyte));
  lines.push_back("");
  for (std::string& line : schedule_table(recipe, trainer.steps_per_epoch())) lines.push_back(std::move(line));
  return lines;
}

}  // namespace omniconv
