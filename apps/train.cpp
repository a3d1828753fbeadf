#include <cstdio>
#include <memory>

#include "apps/commands.h"
#include "apps/model_options.h"
#include "apps/training/options.h"
#include "apps/training/session.h"
#include "engine/device.h"

namespace omniconv {
namespace {

/// Options as they are written; what is a word there and a type here is parsed when the command runs.
struct TrainCall {
  TrainOptions options;
  ModelWords model;
  std::string lr_schedule = "cosine", temperature = format_temperature({}), precision = "f32";
  bool no_augment = false, no_shuffle = false;
  std::vector<std::pair<std::string, const CLI::Option*>> recipe_options;  // key in the recipe's JSON, option
};

TrainOptions options_of(const TrainCall& call) {
  TrainOptions options = call.options;
  for (const auto& [key, option] : call.recipe_options)
    if (option->count() > 0) options.given.insert(key);
  Recipe& recipe = options.recipe;
  recipe.model = parse_model(call.model);
  recipe.lr_schedule = parse_learning_rate_schedule(call.lr_schedule);
  recipe.temperature = parse_temperature(call.temperature);
  recipe.precision = parse_precision(call.precision);
  recipe.augment = !call.no_augment;
  recipe.shuffle = !call.no_shuffle;
  return options;
}

}  // namespace

void add_train(CLI::App& program, int& exit_code) {
  const auto call = std::make_shared<TrainCall>();
  CLI::App& command = *program.add_subcommand("train", "Train a network on CIFAR-10 data, or go on with a run.");
  TrainOptions& options = call->options;
  Recipe& recipe = options.recipe;
  const auto keep = [&](const char* key, CLI::Option* option) { call->recipe_options.emplace_back(key, option); };

  keep("data", command.add_option("--data", recipe.data, "Folder of a CIFAR-10 binary data set, or: synthetic"));
  add_model_options(command, call->model, call->recipe_options);
  keep("epochs", command.add_option("--epochs", recipe.epochs, "Passes over the training images"));
  keep("batch_size", command.add_option("--batch-size", recipe.batch_size, "Images in an optimizer step"));
  keep("lr", command.add_option("--lr", recipe.lr, "Learning rate at the start"));
  keep("lr_schedule", command.add_option("--lr-schedule", call->lr_schedule, "How it falls, per epoch: cosine, step"));
  keep("lr_milestones",
       command.add_option("--lr-milestones", recipe.lr_milestones, "Epochs after which step multiplies it: 100,150")
           ->delimiter(','));
  keep("lr_factor", command.add_option("--lr-factor", recipe.lr_factor, "What step multiplies it by"));
  keep("momentum", command.add_option("--momentum", recipe.momentum, "Momentum of SGD"));
  keep("weight_decay", command.add_option("--weight-decay", recipe.weight_decay, "Weight decay, on every parameter"));
  keep("nesterov", command.add_flag("--nesterov", recipe.nesterov, "Nesterov's momentum"));
  keep("temperature", command.add_option("--temperature", call->temperature,
                                         "Of the attentions: START:END:EPOCHS (linear), or a number"));
  keep("seed", command.add_option("--seed", recipe.seed, "Of weights, order and augmentation"));
  keep("init", command.add_option("--init", recipe.init, "Checkpoint (safetensors) to take the first weights from"));
  keep("inflate_noise", command.add_option("--inflate-noise", recipe.inflate_noise,
                                           "Sets kernels apart that --init inflates from a static model (0.1)"));
  keep("augment", command.add_flag("--no-augment", call->no_augment, "No random crops and flips"));
  keep("shuffle", command.add_flag("--no-shuffle", call->no_shuffle, "Images in the order of their files"));
  keep("precision", command.add_option("--precision", call->precision, precision_help));
  command.add_option("--out", options.out, "Run folder, replaced if it holds a run (default: a new one under runs/)");
  command.add_option("--resume", options.resume, "Run folder to go on with, under the options it was started with");
  command.add_option("--max-steps", options.max_steps, "Stop when the run has this many optimizer steps");
  command.add_option("--threads", options.threads, "Host threads (no result depends on them)");
  command.add_flag("--log-steps", options.log_steps, "Write each step's loss to steps.jsonl in the run folder");
  command.add_flag("--json", options.json, "The outcome as one JSON object on stdout, text on stderr");

  command.callback([call, &exit_code] {
    const TrainOptions parsed = options_of(*call);
    require_device();
    exit_code = train(parsed, parsed.json ? stderr : stdout, stdout);
  });
}

}  // namespace omniconv
