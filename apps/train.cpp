#include <cstdio>
#include <memory>

#include "apps/commands.h"
#include "apps/model_options.h"
#include "apps/report/run_report.h"
#include "apps/tensorboard/run_events.h"
#include "apps/training/autotune.h"
#include "apps/training/configuration.h"
#include "apps/training/run_folder.h"
#include "apps/training/session.h"
#include "apps/training/text.h"
#include "engine/device.h"
#include "engine/files.h"

namespace omniconv {
namespace {

/// Options as they are written; what is a word there and a type here is parsed when the command runs.
struct TrainCall {
  TrainOptions options;
  ModelWords model;
  std::string lr_schedule = "cosine", temperature = format_temperature({}), flip = "random", precision = "f32",
              images = "auto";
  bool no_augment = false, no_shuffle = false, tensorboard = false, no_report = false;
  std::vector<std::pair<std::string, const CLI::Option*>> recipe_options;  // key in the recipe's JSON, option
};

TrainOptions options_of(const TrainCall& call) {
  TrainOptions options = call.options;
  options.given = keys_given(call.recipe_options);
  Recipe& recipe = options.recipe;
  recipe.model = parse_model(call.model);
  recipe.lr_schedule = parse_learning_rate_schedule(call.lr_schedule);
  recipe.temperature = parse_temperature(call.temperature);
  recipe.flip = parse_flip(call.flip);
  recipe.precision = parse_precision(call.precision);
  options.images = parse_residence(call.images);
  recipe.augment = !call.no_augment;
  recipe.shuffle = !call.no_shuffle;
  if (call.tensorboard) {
    expect_tensorboard();
    options.observe = make_run_events;
  }
  if (!call.no_report)
    options.after_run = [](const std::string& folder, const std::string& data) {
      // The run is whole without its page, and a series has others to go on with.
      try {
        write_run_report(folder, data, RunFolder(folder).file(RunFolder::report_name));
      } catch (const std::exception& error) {
        std::fprintf(stderr, "report not written: %s\n", one_line(error.what()).c_str());
      }
    };
  return options;
}

}  // namespace

void add_train(CLI::App& program, int& exit_code) {
  const auto call = std::make_shared<TrainCall>();
  CLI::App& command = *program.add_subcommand("train", "Train a network on CIFAR-10 data, or go on with a run.");
  command.add_option("--config", call->options.config,
                     "File with keys of config.json; options given here are stronger");
  command.add_option("--recipe", call->options.preset,
                     concat("Preset, weaker than --config: ", joined(recipe_presets(), ", ")));
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
  keep("warmup", command.add_option("--warmup", recipe.warmup, "Epochs over which the rate first rises, step by step"));
  keep("momentum", command.add_option("--momentum", recipe.momentum, "Momentum of SGD"));
  keep("weight_decay",
       command.add_option("--weight-decay", recipe.weight_decay, "Weight decay, of every parameter but --no-decay"));
  keep("nesterov", command.add_flag("--nesterov", recipe.nesterov, "Nesterov's momentum"));
  keep("label_smoothing", command.add_option("--label-smoothing", recipe.label_smoothing,
                                             "Part of the target that is spread over all classes"));
  keep("clip_norm", command.add_option("--clip-norm", recipe.clip_norm, "Largest norm of the gradients, 0 for any"));
  keep("no_decay",
       command.add_option("--no-decay", recipe.no_decay, "Parameters without weight decay: bn, bias")->delimiter(','));
  keep("ema", command.add_option("--ema", recipe.ema, "Decay of the weights' moving average, which is evaluated"));
  keep("accumulate", command.add_option("--accumulate", recipe.accumulate,
                                        "Parts in which a step's batch is computed, to save memory"));
  keep("temperature",
       command.add_option("--temperature", call->temperature,
                          "Of the attentions: START:END:EPOCHS[:SHAPE], or a number; SHAPE is linear, cosine,"
                          " exponential or harmonic"));
  keep("temperature_guard", command.add_flag("--temperature-guard", recipe.temperature_guard,
                                             "Let the temperature stand still while the training loss jumps"));
  keep("stages",
       command.add_option("--stages", options.stages, "Train in stages: a JSON file of them, or progressive"));
  keep("validation", command.add_option("--validation", recipe.validation,
                                        "Last training images to hold out and to choose the best epoch by"));
  keep("stratified", command.add_flag("--stratified", recipe.stratified, "Hold out as many images of every class"));
  keep("test_every",
       command.add_option("--test-every", recipe.test_every,
                          "With --validation: epochs between evaluations of the test set, 0 for the end"));
  keep("seed", command.add_option("--seed", recipe.seed, "Of weights, order and augmentation"));
  keep("init", command.add_option("--init", recipe.init, "Checkpoint (safetensors) to take the first weights from"));
  keep("inflate_noise", command.add_option("--inflate-noise", recipe.inflate_noise,
                                           "Sets kernels apart that --init inflates from a static model (0.1)"));
  keep("augment", command.add_flag("--no-augment", call->no_augment, "No random crops and flips"));
  keep("flip", command.add_option("--flip", call->flip, "Mirror images: random, alternating, never"));
  keep("cutout", command.add_option("--cutout", recipe.cutout, "Side of a square to blank in each image"));
  keep("mixup", command.add_option("--mixup", recipe.mixing.mixup, "Blend images: the alpha of Beta(alpha, alpha)"));
  keep("cutmix", command.add_option("--cutmix", recipe.mixing.cutmix, "Put boxes of other images in: the alpha"));
  keep("shuffle", command.add_flag("--no-shuffle", call->no_shuffle, "Images in the order of their files"));
  keep("precision", command.add_option("--precision", call->precision, precision_help));
  keep("autotune", command.add_flag("--autotune", recipe.autotune, autotune_help));
  command.add_option("--seeds", options.seeds, "Train once with each of these seeds, in a series: 0,1,2")
      ->delimiter(',');
  command.add_option("--compare", options.compare, "Runs or series to compare a series of --seeds with, seed by seed");
  command.add_flag("--dry-run", options.dry_run, "Show model, memory and schedule, and train nothing");
  command.add_option("--out", options.out, "Run folder, replaced if it holds a run (default: a new one under runs/)");
  command.add_option("--resume", options.resume, "Run folder to go on with, under the options it was started with");
  command.add_option("--max-steps", options.max_steps, "Stop when the run has this many optimizer steps");
  command.add_option("--threads", options.threads, "Host threads (no result depends on them)");
  command.add_option("--cuda-graph", options.cuda_graph, cuda_graph_help);
  command.add_option("--images", call->images, images_help);
  command.add_flag("--log-steps", options.log_steps, "Write each step's loss to steps.jsonl in the run folder");
  command.add_flag("--no-report", call->no_report, "No report.html in the run folder at the end");
  command.add_flag("--tensorboard", call->tensorboard, "Write an event file for TensorBoard into the run folder");
  command.add_flag("--json", options.json, "The outcome as one JSON object on stdout, text on stderr");

  command.callback([call, &exit_code] {
    const TrainOptions parsed = options_of(*call);
    require_device();
    exit_code = train(parsed, parsed.json ? stderr : stdout, stdout);
  });
}

}  // namespace omniconv
