#include <cstdio>
#include <memory>

#include "apps/commands.h"
#include "apps/training/progress.h"
#include "apps/training/summary.h"
#include "data/cifar10.h"
#include "data/synthetic.h"
#include "engine/usage.h"

namespace omniconv {
namespace {

struct SynthCall {
  std::string out;
  std::int64_t seed = 0, train = 4000, test = 1000;
};

void synth(const SynthCall& call) {
  constexpr std::string_view where = "synth";
  constexpr std::int64_t least_train = 5, most = 1'000'000;  // a data set has five training files
  require_in(where, call.seed >= 0, "--seed of at least 0, got ", call.seed);
  require_in(where, call.train >= least_train && call.train <= most, "--train of ", least_train, " to ", most, ", got ",
             call.train);
  require_in(where, call.test >= 1 && call.test <= most, "--test of 1 to ", most, ", got ", call.test);
  const ImageData data = make_synthetic(static_cast<std::uint64_t>(call.seed), call.train, call.test);
  write_cifar10(call.out, data);
  std::printf("%s: %s training and %s test images of %zu classes in CIFAR-10's format\n", call.out.c_str(),
              grouped(call.train).c_str(), grouped(call.test).c_str(), data.class_names.size());
  std::printf("Next: omniconv train --data %s --width 16 --epochs 5 --temperature 1 --attention-init zero\n",
              shell_word(call.out).c_str());
}

}  // namespace

void add_synth(CLI::App& program, int& exit_code) {
  const auto call = std::make_shared<SynthCall>();
  CLI::App& command = *program.add_subcommand("synth", "Draw a data set that a small network can learn.");
  command.add_option("--out", call->out, "Folder to write the batch files to")->required();
  command.add_option("--seed", call->seed, "Of all drawing");
  command.add_option("--train", call->train, "Training images");
  command.add_option("--test", call->test, "Test images");
  command.callback([call, &exit_code] {
    synth(*call);
    exit_code = 0;
  });
}

}  // namespace omniconv
