// The program itself, as a shell starts it: exit codes, one line per error, signals, JSON on stdout.
#include "tests/apps/program.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "engine/device.h"
#include "engine/fusions.h"
#include "engine/library/gemm.h"
#include "engine/safetensors.h"
#include "tests/apps/small_runs.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

Words small_train(const std::string& data, const std::string& out) {
  return {"train", "--data",       data, "--width",       "8", "--kernels", "2", "--epochs",
          "2",     "--batch-size", "12", "--temperature", "1", "--out",     out};
}

TEST_CASE("help and version exit with 0") {
  CHECK_THAT(run({"--help"}).out, ContainsSubstring("train") && ContainsSubstring("synth"));
  for (const char* command : {"train", "eval", "bench", "synth"}) {
    const Outcome outcome = run({command, "--help"});
    CHECK(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("--help"));
  }
  CHECK(run({"--version"}).exit_code == 0);
  const std::string version = run({"--version"}).out;
  CHECK_THAT(version, StartsWith("omniconv "));
  CHECK(version.substr(version.find('\n') + 1) == library::versions() + '\n');
  CHECK_THAT(library::versions(), ContainsSubstring(device_kind() == "cpu" ? "oneDNN " : "cuBLAS "));
}

/// Names of options in a text, such as "--batch-size", of the lines that `is_row` picks.
std::set<std::string> options_in(const std::string& text, const std::function<bool(const std::string&)>& is_row) {
  std::set<std::string> names;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!is_row(line)) continue;
    const std::size_t begin = line.find("--");
    const std::size_t end = line.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-", begin);
    names.insert(line.substr(begin, end - begin));
  }
  return names;
}

/// The part of docs/cli.md under `heading`, up to the next of its kind.
std::string section_of(const std::string& text, const std::string& heading) {
  const std::size_t begin = text.find("\n## " + heading + '\n');
  REQUIRE(begin != std::string::npos);
  return text.substr(begin, text.find("\n## ", begin + 1) - begin);
}

TEST_CASE("docs/cli.md lists the options of every command, no more and no less") {
  const std::string docs = read_text(OMNICONV_DOCS "/cli.md");
  const auto is_row = [](const std::string& line) { return line.starts_with("| `--"); };
  const auto is_option = [](const std::string& line) { return line.find_first_not_of(' ') == line.find("--"); };
  const std::set<std::string> model = options_in(section_of(docs, "Options that choose a model"), is_row);
  CHECK(model.size() >= 7);
  std::istringstream lines(run({"--help"}).out);
  bool listing = false;
  int commands = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("Subcommands")) listing = true;
    if (!listing || !line.starts_with("  ")) continue;
    const std::string command = line.substr(2, line.find(' ', 2) - 2);
    if (command.empty()) continue;
    INFO(command);
    const std::string section = section_of(docs, "`omniconv " + command + '`');
    std::set<std::string> documented = options_in(section, is_row);
    std::set<std::string> offered = options_in(run({command, "--help"}).out, [&](const std::string& text) {
      return text.find("--") != std::string::npos && is_option(text.substr(0, text.find("--") + 2)) &&
             !text.starts_with("Usage");
    });
    offered.erase("--help");
    if (offered.contains("--kernels")) documented.insert(model.begin(), model.end());
    CHECK(documented == offered);
    ++commands;
  }
  CHECK(commands >= 6);
}

TEST_CASE("help shows defaults") {
  const std::string help = run({"train", "--help"}).out;
  for (const char* part : {"=200", "=0.1", "=30:1:10", "=random", "=od_resnet18"})
    CHECK_THAT(help, ContainsSubstring(part));
  CHECK_THAT(run({"eval", "--help"}).out, ContainsSubstring("=100"));
}

TEST_CASE("a shell completes commands, options and files") {
  const TemporaryFolder folder;
  const Outcome bash = run({"completion", "bash"}), zsh = run({"completion", "zsh"});
  CHECK(bash.exit_code == 0);
  CHECK_THAT(zsh.out, StartsWith("#compdef omniconv\n") && ContainsSubstring("--attention-init"));
  check_one_line_error({"completion", "fish"}, 2, "expected bash or zsh, got fish");
  write_text(folder.file("script"), bash.out);
  write_text(folder.file("ask"),
             "source " + folder.file("script") +
                 "\nask() { COMP_WORDS=(omniconv \"$@\"); COMP_CWORD=$#; _omniconv; echo \"${COMPREPLY[*]}\"; }\n"
                 "ask tr\nask train --attention-\nask eval --tem\ncd " +
                 folder.path().string() + "\nask eval --checkpoint scr\n");
  const std::string command = "bash " + folder.file("ask") + " > " + folder.file("answers") + " 2>&1";
  REQUIRE(std::system(command.c_str()) == 0);
  CHECK(read_text(folder.file("answers")) == "train\n--attention-norm --attention-init\n--temperature\nscript\n");
}

TEST_CASE("impossible options exit with 2, one line and no file") {
  const TemporaryFolder folder;
  const Words train = {"train", "--data", "synthetic", "--out", folder.file("run")};
  check_one_line_error({}, 2, "--help");
  check_one_line_error({"trian"}, 2, "--help");
  check_one_line_error({"train"}, 2, "expected --data");
  check_one_line_error(train + Words{"--frobnicate"}, 2, "--frobnicate");
  check_one_line_error(train + Words{"--kernels", "0"}, 2, "1 to 16 kernels, got 0");
  check_one_line_error(train + Words{"--temperature", "0:1:1"}, 2, "0:1:1");
  check_one_line_error(train + Words{"--batch-size", "1"}, 2, "--attention-norm layer");
  check_one_line_error(train + Words{"--model", "resnet18", "--kernels", "4"}, 2, "1 kernel for the static model");
  check_one_line_error(train + Words{"--model", "resnet18", "--attention-norm", "layer"}, 2, "a dynamic model");
  check_one_line_error({"bench", "--model", "resnet18", "--reduction", "0.0625"}, 2,
                       "a dynamic model with --reduction");
  check_one_line_error({"inspect", "--model", "resnet18", "--downsample", "static"}, 2, "a dynamic model");
  check_one_line_error({"bench", "--inference", "--cuda-graph", "off"}, 2, "--cuda-graph");
  check_one_line_error({"bench", "--plan", "--cuda-graph", "off"}, 2, "--cuda-graph");
  check_one_line_error(train + Words{"--epochs", "many"}, 2, "many");
  check_one_line_error(train + Words{"--stem", "vgg"}, 2, "cifar or imagenet");
  check_one_line_error(train + Words{"--dropout", "1"}, 2, "a dropout in [0, 1), got 1");
  check_one_line_error(train + Words{"--classes", "100"}, 2, "expected --classes 10");
  check_one_line_error(train + Words{"--image-size", "224"}, 2, "expected --image-size 32");
  check_one_line_error(train + Words{"--inflate-noise", "0.1"}, 2, "--inflate-noise with --init");
  check_one_line_error({"inspect", "--model", "od_resnet50", "--image-size", "7"}, 2, "an image size of 8 to 4096");
  check_one_line_error({"bench", "--classes", "1"}, 2, "classes, got 1");
  check_one_line_error(train + Words{"--lr", "nan"}, 2, "a finite --lr");
  check_one_line_error(train + Words{"--precision", "f8"}, 2, "f32, bf16, f16 or f64, got \"f8\"");
  check_one_line_error(train + Words{"--threads", "0"}, 2, "--threads");
  check_one_line_error(train + Words{"--seed", "-1"}, 2, "--seed");
  check_one_line_error({"bench", "--steps", "2"}, 2, "--steps of 3");
  check_one_line_error({"bench", "--inference", "--precision", "bf16"}, 2, "--precision f32 with --inference");
  check_one_line_error({"synth", "--out", folder.file("run"), "--train", "4"}, 2, "--train of 5");
  check_one_line_error({"synth", "--out", folder.file("run"), "--test", "0"}, 2, "--test of 1 to 1000000, got 0");
  check_one_line_error({"synth", "--out", folder.file("run"), "--seed", "-1"}, 2,
                       "[synth] expected --seed of at least 0");
  check_one_line_error({"inspect"}, 2, "[inspect] expected --checkpoint or --model, got neither");
  check_one_line_error({"inspect", "--image-size", "64"}, 2, "got neither");
  check_one_line_error({"inspect", "--checkpoint", "x", "--width", "8"}, 2, "options of a model, got both");
  check_one_line_error({"eval", "--checkpoint", "x", "--data", "y", "--batch-size", "0"}, 2, "--batch-size");
  check_one_line_error({"eval", "--checkpoint", "x", "--data", "y", "--temperature", "3:1:2"}, 2, "one number");
  CHECK(folder.names().empty());
}

#if !OMNICONV_CUDA
TEST_CASE("an order of threads that is no number is refused") {
  ::setenv("OMNICONV_SIMT_SHUFFLE", "some", 1);
  const Outcome outcome = run({"bench", "--width", "8", "--kernels", "1", "--batch-size", "2", "--steps", "3"});
  ::unsetenv("OMNICONV_SIMT_SHUFFLE");
  CHECK(outcome.exit_code == 1);
  CHECK(outcome.err == "omniconv: [launch] expected a number in OMNICONV_SIMT_SHUFFLE, got some\n");
}
#endif

TEST_CASE("bad files and folders exit with 1, one line and no file") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder), out = folder.file("run");
  check_one_line_error(small_train(folder.file("nowhere"), out), 1, "got no such folder");
  check_one_line_error(small_train(data, "/proc/run"), 1, "/proc/run");
  check_one_line_error(small_train(data, out) + Words{"--init", data + "/test_batch.bin"}, 1, "[safetensors]");
  check_one_line_error({"eval", "--checkpoint", folder.file("no.safetensors"), "--data", data}, 1, "readable file");

  const std::string batch = data + "/data_batch_2.bin", good = read_text(batch);
  write_text(batch, good.substr(0, good.size() - 1));
  check_one_line_error(small_train(data, out), 1, "the file is truncated");
  std::string label = good;
  label[0] = 10;
  write_text(batch, label);
  check_one_line_error(small_train(data, out), 1, "expected labels below 10, got 10 in record 0 at byte 0");
  CHECK_FALSE(std::filesystem::exists(out));
}

TEST_CASE("train, eval and bench speak JSON on stdout and text on stderr") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder), out = folder.file("run");
  const Outcome trained = run(small_train(data, out) + Words{"--json", "--max-steps", "3"});
  REQUIRE(trained.exit_code == 0);
  const auto outcome = nlohmann::json::parse(trained.out);
  CHECK(outcome.at("step") == 3);
  CHECK(outcome.at("finished") == false);
  CHECK_THAT(trained.err, ContainsSubstring("Best test accuracy") && ContainsSubstring("--resume"));

  const Words eval = {"eval", "--checkpoint", out + "/last.safetensors", "--data", data};
  const Outcome evaluated = run(eval + Words{"--json", "--logits", folder.file("logits.safetensors")});
  REQUIRE(evaluated.exit_code == 0);
  const auto result = nlohmann::json::parse(evaluated.out);
  CHECK(result.size() == 3);
  CHECK(result.at("test_accuracy") == outcome.at("test_accuracy"));
  CHECK(result.at("test_loss") == outcome.at("test_loss"));
  CHECK(result.at("images") == 20);
  const SafetensorsFile logits = read_safetensors(folder.file("logits.safetensors"));
  CHECK(logits.tensors.at("logits").shape == Shape{20, 10});
  CHECK(logits.tensors.at("logits").dtype == DType::f32);
  CHECK(to_integers(logits.tensors.at("labels"), "labels")[13] == 3);
  CHECK_THAT(run(eval).out, ContainsSubstring("test accuracy "));
  check_one_line_error(eval + Words{"--logits", "/proc/logits"}, 1, "/proc/logits");

  // Another precision changes the numbers a little; logits stay f32.
  for (const char* precision : {"bf16", "f16"}) {
    const Outcome rounded = run(eval + Words{"--json", "--precision", precision, "--logits", folder.file("half")});
    REQUIRE(rounded.exit_code == 0);
    const double loss = nlohmann::json::parse(rounded.out).at("test_loss"), in_f32 = result.at("test_loss");
    CHECK(loss != in_f32);
    CHECK(Tolerance::half_losses().holds(loss, in_f32));
    CHECK(read_safetensors(folder.file("half")).tensors.at("logits").dtype == DType::f32);
  }

  write_text(data + "/batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n");
  check_one_line_error(eval, 1, "expected data of 10 classes, as the checkpoint has, got 11");

  const Outcome timed =
      run({"bench", "--width", "8", "--batch-size", "2", "--steps", "3", "--json", "--precision", "bf16"});
  REQUIRE(timed.exit_code == 0);
  CHECK(nlohmann::json::parse(timed.out).at("precision") == "bf16");
  CHECK(nlohmann::json::parse(timed.out).at("step_seconds").size() == 3);
}

TEST_CASE("bench tells of every layer and direction") {
  const Words bench = {"bench", "--width", "8", "--batch-size", "2", "--steps", "3"};
  constexpr std::size_t convolutions = 20, dynamic_convolutions = 19;  // of od_resnet18; the stem is static
  const std::size_t rows = 3 * convolutions - 1;                       // nobody wants the gradient of the images

  const Outcome planned = run(bench + Words{"--plan", "--json"});
  REQUIRE(planned.exit_code == 0);
  const auto plan = nlohmann::json::parse(planned.out).at("plan");
  REQUIRE(plan.size() == rows);
  CHECK(plan[0].at("layer") == "conv1");
  CHECK(plan[0].at("algorithm") == "library");
  CHECK(plan[2].at("layer") == "layer1.0.conv1");
  for (const auto& row : plan) CHECK_FALSE(row.at("reason").get<std::string>().empty());
  CHECK_THAT(run(bench + Words{"--plan"}).out,
             ContainsSubstring("layer4.1.conv2") && ContainsSubstring("weight gradient"));

  const Outcome timed = run(bench + Words{"--layers", "--ablate", "--json"});
  REQUIRE(timed.exit_code == 0);
  const auto json = nlohmann::json::parse(timed.out);
  REQUIRE(json.at("layers").size() == rows);
  double share = 0;
  for (const auto& row : json.at("layers")) {
    CHECK(row.at("seconds").get<double>() > 0);
    CHECK(row.at("operations_per_second").get<double>() > 0);
    CHECK(row.at("bytes").get<double>() > 0);
    share += row.at("share").get<double>();
  }
  CHECK(share > 0);
  std::map<std::string, std::size_t> counts;
  for (const auto& row : json.at("ablation")) ++counts[row.at("algorithm").get<std::string>()];
  CHECK(counts.at("materialise") == 3 * dynamic_convolutions);
  CHECK(counts.at("summed") == 3 * dynamic_convolutions);
  CHECK(counts.at("two_sided") == 3 * dynamic_convolutions);
  REQUIRE(json.at("fusions").size() == std::size(all_fusions));
  for (const auto& row : json.at("fusions")) {
    CHECK_FALSE(row.at("fusion").get<std::string>().empty());
    CHECK(row.at("seconds_on").get<double>() > 0);
    CHECK(row.at("seconds_off").get<double>() > 0);
  }
  check_one_line_error(bench + Words{"--plan", "--ablate"}, 2, "--ablate");
}

TEST_CASE("inspect and bench know the official form") {
  const auto inspect = [](const Words& more) {
    const Outcome outcome = run(Words{"inspect", "--json"} + more);
    REQUIRE(outcome.exit_code == 0);
    return nlohmann::json::parse(outcome.out);
  };
  const auto official = inspect({"--model", "od_resnet50", "--stem", "imagenet", "--image-size", "224"});
  CHECK(official.at("parameters") == 90670888);
  CHECK(official.at("multiply_accumulates").at("convolution") == 4089184256);
  CHECK(official.at("model").at("downsample") == "static");
  CHECK(official.at("model").at("dropout") == 0.1);
  CHECK(official.at("model").at("width") == 64);
  CHECK(official.at("model").at("folded") == false);
  CHECK(official.at("tensors")[0].at("name") == "bn1.bias");
  CHECK(official.at("tensors")[0].at("shape") == std::vector{64});
  CHECK(inspect({"--stem", "imagenet", "--kernels", "1"}).at("parameters") == 11943944);
  CHECK(inspect({"--stem", "imagenet"}).at("parameters") == 44901640);
  CHECK(inspect({"--kernels", "4"}).at("multiply_accumulates").at("total") == 600853360);
  const auto words =
      inspect({"--stem", "imagenet", "--classes", "7", "--downsample", "odconv", "--dropout", "0"}).at("model");
  CHECK(words.at("classes") == 7);
  CHECK(words.at("downsample") == "odconv");
  CHECK(words.at("dropout") == 0);

  const Outcome timed = run({"bench", "--model", "od_resnet50", "--stem", "imagenet", "--image-size", "64", "--width",
                             "8", "--kernels", "2", "--batch-size", "2", "--steps", "3", "--json"});
  REQUIRE(timed.exit_code == 0);
  CHECK(nlohmann::json::parse(timed.out).at("image_size") == 64);
  CHECK_THAT(timed.err, ContainsSubstring("batch 2 of 64x64"));
}

TEST_CASE("a result that cannot be written is an error, and no file takes the place of a closed stdout") {
  const TemporaryFolder folder;
  const auto error_of = [&](const std::string& words, const std::string& target) {
    const std::string command =
        concat(OMNICONV_PROGRAM, ' ', words, " 2>", folder.file("err"), " >", target);
    INFO(command);
    const int status = std::system(command.c_str());
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 1);
    return read_text(folder.file("err"));
  };
  for (const char* words :
       {"inspect --model resnet18 --kernels 1 --json", "completion bash", "train --help", "--version"})
    CHECK_THAT(error_of(words, "/dev/full"), StartsWith("omniconv: [stdout] expected to write the result, got: "));
  CHECK_THAT(error_of("completion bash", "&-"), StartsWith("omniconv: [stdout] expected to write the result, got: "));

  const std::string data = write_small_data(folder), out = folder.file("run");
  std::string train;
  for (const std::string& word : small_train(data, out) + Words{"--log-steps"}) train += word + ' ';
  CHECK_THAT(error_of(train, "&-"), ContainsSubstring("[stdout]"));
  CHECK(json_lines(read_text(out + "/steps.jsonl")).size() == 6);
  CHECK(run({"eval", "--checkpoint", out + "/last.safetensors", "--data", data}).exit_code == 0);
}

TEST_CASE("synth writes a data set and says what to do with it") {
  const TemporaryFolder folder;
  const Outcome outcome = run({"synth", "--out", folder.file("set"), "--train", "10", "--test", "5"});
  CHECK(outcome.exit_code == 0);
  CHECK_THAT(outcome.out, ContainsSubstring("omniconv train --data " + folder.file("set")));
  CHECK(read_cifar10(folder.file("set")).train.count() == 10);
}

TEST_CASE("SIGTERM in mid-run exits with 143, and the resumed run ends in the same bytes") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder, 300), whole = folder.file("whole"), cut = folder.file("cut");
  REQUIRE(run(small_train(data, whole)).exit_code == 0);

  for (const int number : {SIGTERM, SIGINT}) {
    const Process process(folder, small_train(data, cut) + Words{"--log-steps"});
    for (int i = 0; i < 3000; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      if (std::filesystem::exists(cut + "/steps.jsonl") && !read_text(cut + "/steps.jsonl").empty()) break;
    }
    process.signal(number);
    const Outcome stopped = process.wait();
    CHECK(stopped.exit_code == 128 + number);
    CHECK(stopped.err.empty());
    CHECK_THAT(stopped.out, ContainsSubstring("omniconv train --resume " + cut));
    CHECK_FALSE(timeless_metrics(cut).empty());
    CHECK(std::filesystem::exists(cut + "/best.safetensors"));
    REQUIRE(run({"train", "--resume", cut}).exit_code == 0);
    for (const char* name : {"/last.safetensors", "/best.safetensors", "/resume.safetensors"})
      CHECK(read_text(whole + name) == read_text(cut + name));
    CHECK(timeless_metrics(whole) == timeless_metrics(cut));
    std::filesystem::remove_all(cut);
  }
}

TEST_CASE("a run that was killed before its first epoch ended can be resumed") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder, 300), out = folder.file("run");
  const Process process(folder, small_train(data, out) + Words{"--log-steps"});
  for (int i = 0; i < 3000 && !std::filesystem::exists(out + "/steps.jsonl"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  process.signal(SIGKILL);
  CHECK(process.wait().exit_code == -SIGKILL);
  CHECK(run({"train", "--resume", out, "--max-steps", "1"}).exit_code == 0);
}

}  // namespace
}  // namespace omniconv::test
