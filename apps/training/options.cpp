#include "apps/training/options.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/files.h"

namespace omniconv {
namespace {

constexpr std::int64_t most_epochs = 1'000'000;
constexpr std::int64_t largest_batch = 1'000'000;
constexpr std::int64_t most_threads = 1024;

template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) throw UsageError(concat("[options] expected ", parts...));
}

/// "weight_decay" -> "--weight-decay"; what is switched off on the command line carries its own name there.
std::string option_name(const std::string& key) {
  if (key == "augment" || key == "shuffle") return "--no-" + key;
  std::string name = "--" + key;
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string option_value(const std::string& key, const nlohmann::json& value) {
  if (value.is_boolean()) return value.get<bool>() != (key == "augment" || key == "shuffle") ? "on" : "off";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

LearningRateSchedule parse_learning_rate_schedule(std::string_view text) {
  if (text == "cosine") return LearningRateSchedule::cosine;
  if (text == "step") return LearningRateSchedule::step;
  throw UsageError(concat("[options] expected --lr-schedule cosine or step, got ", in_quotes(text)));
}

Downsample parse_downsample(std::string_view text) {
  if (text == "odconv") return Downsample::odconv;
  if (text == "static") return Downsample::fixed;
  throw UsageError(concat("[options] expected --downsample odconv or static, got ", in_quotes(text)));
}

DType parse_precision(std::string_view text) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64})
    if (text == omniconv::name_of(dtype)) return dtype;
  throw UsageError(concat("[options] expected --precision f32, bf16, f16 or f64, got ", in_quotes(text)));
}

std::string_view name_of(LearningRateSchedule schedule) {
  return schedule == LearningRateSchedule::cosine ? "cosine" : "step";
}

std::string_view name_of(Downsample downsample) {
  return downsample == Downsample::odconv ? "odconv" : "static";
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
}

void check_threads(const std::optional<std::int64_t>& threads) {
  require(!threads || (*threads >= 1 && *threads <= most_threads), "--threads of 1 to ", most_threads, ", got ",
          threads.value_or(0));
}

void check(const TrainOptions& options) {
  check_threads(options.threads);
  require(!options.max_steps || *options.max_steps >= 1, "--max-steps of at least 1, got ",
          options.max_steps.value_or(0));
  if (options.resume.empty()) {
    require(!options.recipe.data.empty(), "--data with a CIFAR-10 folder or the word synthetic, got none");
    check(options.recipe);
    require(!options.recipe.inflate_noise || !options.recipe.init.empty(),
            "--inflate-noise with --init, the static checkpoint to inflate, got none");
    return;
  }
  require(!options.given.contains("init"), "--init or --resume, got both: a resumed run has its weights already");
  const auto plain = [](const std::string& path) { return std::filesystem::path(path + "/").lexically_normal(); };
  require(options.out.empty() || plain(options.out) == plain(options.resume), "--resume without --out, got --out ",
          options.out, ": a run goes on in its own folder");
}

double learning_rate_at(const Recipe& recipe, std::int64_t finished_epochs) {
  return recipe.lr_schedule == LearningRateSchedule::cosine
             ? cosine_learning_rate(recipe.lr, finished_epochs, recipe.epochs)
             : step_learning_rate(recipe.lr, finished_epochs, recipe.lr_milestones, recipe.lr_factor);
}

nlohmann::json to_json(const Recipe& recipe) {
  const ModelConfig& model = recipe.model;
  return {{"data", recipe.data},
          {"init", recipe.init},
          {"inflate_noise", recipe.inflate_noise ? nlohmann::json(*recipe.inflate_noise) : nlohmann::json()},
          {"model", model.model},
          {"width", model.width},
          {"kernels", model.kernels},
          {"reduction", model.reduction},
          {"downsample", name_of(model.downsample)},
          {"classes", model.classes},
          {"attention_norm", name_of(model.attention_norm)},
          {"attention_init", name_of(model.attention_init)},
          {"stem", name_of(model.stem)},
          {"image_size", model.image_size},
          {"dropout", model.dropout},
          {"epochs", recipe.epochs},
          {"batch_size", recipe.batch_size},
          {"lr", recipe.lr},
          {"lr_schedule", name_of(recipe.lr_schedule)},
          {"lr_milestones", recipe.lr_milestones},
          {"lr_factor", recipe.lr_factor},
          {"momentum", recipe.momentum},
          {"weight_decay", recipe.weight_decay},
          {"nesterov", recipe.nesterov},
          {"temperature", format_temperature(recipe.temperature)},
          {"seed", recipe.seed},
          {"augment", recipe.augment},
          {"shuffle", recipe.shuffle},
          {"precision", omniconv::name_of(recipe.precision)}};
}

Recipe recipe_from_json(const nlohmann::json& json, const std::string& source) {
  Recipe recipe;
  ModelConfig& model = recipe.model;
  const auto text = [&](const char* key) { return json.at(key).get<std::string>(); };
  try {
    json.at("data").get_to(recipe.data);
    json.at("init").get_to(recipe.init);
    if (const auto& noise = json.at("inflate_noise"); !noise.is_null()) recipe.inflate_noise = noise.get<double>();
    json.at("model").get_to(model.model);
    json.at("width").get_to(model.width);
    json.at("kernels").get_to(model.kernels);
    json.at("reduction").get_to(model.reduction);
    model.downsample = parse_downsample(text("downsample"));
    json.at("classes").get_to(model.classes);
    model.attention_norm = parse_attention_norm(text("attention_norm"));
    model.attention_init = parse_attention_init(text("attention_init"));
    model.stem = parse_stem(text("stem"));
    json.at("image_size").get_to(model.image_size);
    json.at("dropout").get_to(model.dropout);
    json.at("epochs").get_to(recipe.epochs);
    json.at("batch_size").get_to(recipe.batch_size);
    json.at("lr").get_to(recipe.lr);
    recipe.lr_schedule = parse_learning_rate_schedule(text("lr_schedule"));
    json.at("lr_milestones").get_to(recipe.lr_milestones);
    json.at("lr_factor").get_to(recipe.lr_factor);
    json.at("momentum").get_to(recipe.momentum);
    json.at("weight_decay").get_to(recipe.weight_decay);
    json.at("nesterov").get_to(recipe.nesterov);
    recipe.temperature = parse_temperature(text("temperature"));
    json.at("seed").get_to(recipe.seed);
    json.at("augment").get_to(recipe.augment);
    json.at("shuffle").get_to(recipe.shuffle);
    recipe.precision = parse_precision(text("precision"));
    check(recipe);
  } catch (const UsageError& error) {
    fail("config", source, ": expected the configuration of a run, got one where ", error.what());
  } catch (const nlohmann::json::exception& error) {
    fail("config", source, ": expected the configuration of a run, got: ", error.what());
  }
  return recipe;
}

std::vector<std::string> differences(const Recipe& asked, const Recipe& run, const std::set<std::string>& keys) {
  const nlohmann::json asked_values = to_json(asked), run_values = to_json(run);
  std::vector<std::string> found;
  for (const std::string& key : keys) {
    if (asked_values.at(key) == run_values.at(key)) continue;
    found.push_back(concat(option_name(key), ' ', option_value(key, asked_values.at(key)), " instead of ",
                           option_value(key, run_values.at(key))));
  }
  return found;
}

}  // namespace omniconv
