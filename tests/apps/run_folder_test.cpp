// What a run does to the folder it is given, and what it refuses before it touches anything.
#include "apps/training/run_folder.h"

#include "apps/training/trainer.h"
#include "engine/allocator.h"
#include "models/checkpoint.h"
#include "tests/apps/small_runs.h"
#include "tests/catch.h"

namespace omniconv::test {
namespace {

/// The Error's text, and that the run folder does not exist afterwards.
std::string refusal(const TrainOptions& options) {
  const std::string message = message_of<Error>([&] { train_quietly(options); });
  if (!options.out.empty()) CHECK_FALSE(std::filesystem::exists(options.out));
  return message;
}

TEST_CASE("a new run replaces the run in its folder and leaves foreign files alone") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder), run = folder.file("run");
  TrainOptions options = small_options(data, run);
  options.log_steps = true;
  options.max_steps = 4;
  REQUIRE(train_quietly(options) == 0);
  write_text(run + "/notes.txt", "mine");

  options.log_steps = false;
  options.max_steps = 1;
  options.recipe.seed = 3;
  REQUIRE(train_quietly(options) == 0);
  CHECK(timeless_metrics(run).size() == 1);
  CHECK(nlohmann::json::parse(read_text(run + "/config.json")).at("seed") == 3);
  CHECK_FALSE(std::filesystem::exists(run + "/steps.jsonl"));
  CHECK(read_text(run + "/notes.txt") == "mine");

  // What cannot be taken away, such as a folder with something in it, is not written over.
  std::filesystem::create_directories(run + "/steps.jsonl/kept");
  CHECK_THAT(message_of<Error>([&] { train_quietly(options); }),
             StartsWith("[run] " + run + "/steps.jsonl: expected to replace an earlier run, got: "));
  CHECK(std::filesystem::exists(run + "/steps.jsonl/kept"));

  write_text(folder.file("config.json"), "{\"architectures\": [\"BertModel\"]}");
  options.out = folder.path().string();
  CHECK_THAT(message_of<Error>([&] { train_quietly(options); }),
             ContainsSubstring("got another program's config.json; choose another --out"));
  CHECK(read_text(folder.file("config.json")) == "{\"architectures\": [\"BertModel\"]}");
}

TEST_CASE("a path that config.json cannot hold is refused, and leaves the old run in the folder") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder), run = folder.file("run");
  TrainOptions options = small_options(data, run);
  options.max_steps = 1;
  REQUIRE(train_quietly(options) == 0);
  const std::string before = read_text(run + "/resume.safetensors");

  const std::string latin = folder.file("donn\xE9");
  std::filesystem::copy(data, latin);
  TrainOptions other = options;
  other.recipe.data = latin;
  CHECK_THAT(message_of<Error>([&] { train_quietly(other); }),
             StartsWith("[run] " + latin + ": expected a path in UTF-8"));
  other.recipe.data = data;
  other.recipe.init = folder.file("mod\xE8le");
  std::filesystem::copy(run + "/last.safetensors", other.recipe.init);
  CHECK_THAT(message_of<Error>([&] { train_quietly(other); }),
             StartsWith("[run] " + other.recipe.init + ": expected a path in UTF-8"));
  CHECK(read_text(run + "/resume.safetensors") == before);
  CHECK(std::filesystem::exists(run + "/metrics.jsonl"));

  // Its own folder may have any name.
  options.out = folder.file("mod\xE8le-1");
  options.json = true;
  const TextFile people, machines;
  REQUIRE(train(options, people.stream(), machines.stream()) == 0);
  CHECK(nlohmann::json::parse(machines.text()).at("run") == folder.file("mod\uFFFDle-1"));
}

TEST_CASE("trying a folder leaves nothing in it, and a killed process nothing that the next run would not remove") {
  const TemporaryFolder folder;
  expect_writable("run", folder.file(RunFolder::config_name));
  CHECK(folder.names().empty());
  write_text(folder.file(RunFolder::config_name), "old");
  expect_writable("run", folder.file(RunFolder::config_name));
  CHECK(folder.names() == std::vector<std::string>{RunFolder::config_name});
  CHECK(read_text(folder.file(RunFolder::config_name)) == "old");

  // What a process leaves that is killed there has the name that this message has.
  const std::string message = message_of<Error>([] { expect_writable("run", "/proc/config.json"); });
  const std::string begin = "[run] /proc/";
  REQUIRE_THAT(message, StartsWith(begin + "config.json.tmp-"));
  const std::string probe = message.substr(begin.size(), message.find(": ") - begin.size());
  for (const std::string& name : {probe, std::string("last.safetensors.tmp-1-0"), std::string("notes.tmp-1")})
    write_text(folder.file(name), "");
  RunFolder(folder.path().string()).remove_temporary_files();
  CHECK(folder.names() == std::vector<std::string>{RunFolder::config_name, "notes.tmp-1"});
}

TEST_CASE("an --out that is no folder is refused before training") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  write_text(folder.file("file"), "x");
  TrainOptions options = small_options(data, folder.file("file"));
  CHECK_THAT(message_of<Error>([&] { train_quietly(options); }),
             StartsWith("[run] " + folder.file("file") + ": expected a folder to write the run to, got: ") &&
                 ContainsSubstring("choose another --out"));
  options.out = folder.file("file/below");
  CHECK_THAT(message_of<Error>([&] { train_quietly(options); }), ContainsSubstring("Not a directory"));
  options.out = "/proc/omniconv-run";
  CHECK_THAT(message_of<Error>([&] { train_quietly(options); }), ContainsSubstring("/proc/omniconv-run"));
  // Before anything is read.
  options.recipe.data = folder.file("no data");
  CHECK_THAT(message_of<Error>([&] { train_quietly(options); }), ContainsSubstring("/proc/omniconv-run"));
  // And what was made for a run that did not begin is taken away.
  options.out = folder.file("run");
  CHECK_THAT(message_of<Error>([&] { train_quietly(options); }), ContainsSubstring("no data"));
  CHECK_FALSE(std::filesystem::exists(options.out));
  std::filesystem::create_directory(options.out);
  CHECK_THAT(message_of<Error>([&] { train_quietly(options); }), ContainsSubstring("no data"));
  CHECK(std::filesystem::exists(options.out));
}

TEST_CASE("without --out a run takes the first free folder") {
  CHECK(new_run_folder("some_net") == "runs/some_net-1");
}

TEST_CASE("--resume accepts equal options, names conflicting ones and leaves a finished run as it is") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder), run = folder.file("run");
  TrainOptions start = small_options(data, run);
  start.max_steps = 2;
  REQUIRE(train_quietly(start) == 0);

  TrainOptions conflict = resume_options(run);
  conflict.given = {"epochs", "lr", "batch_size"};
  conflict.recipe = start.recipe;
  conflict.recipe.epochs = 5;
  conflict.recipe.lr = 0.5;
  CHECK(message_of<UsageError>([&] { train_quietly(conflict); }) ==
        "[resume] " + run +
            ": expected the run's own options, got --epochs 5 instead of 2, --lr 0.5 instead of 0.02: "
            "leave them out, or start a new run");

  const TemporaryFolder other;
  TrainOptions other_data = resume_options(run);
  other_data.given = {"data"};
  other_data.recipe.data = write_small_data(other, 38);
  CHECK_THAT(
      message_of<Error>([&] { train_quietly(other_data); }),
      ContainsSubstring("expected the data that the run was trained on, got others in " + other_data.recipe.data));

  // The same data elsewhere are the same data; the configuration remembers the new place.
  std::filesystem::rename(data, folder.file("moved"));
  CHECK_THAT(message_of<Error>([&] { train_quietly(resume_options(run)); }), StartsWith("[cifar10] "));
  TrainOptions equal = resume_options(run);
  equal.given = {"data", "epochs"};
  equal.recipe = start.recipe;
  equal.recipe.data = folder.file("moved");
  equal.max_steps = 3;
  REQUIRE(train_quietly(equal) == 0);
  REQUIRE(train_quietly(resume_options(run)) == 0);

  const std::string before = read_text(run + "/resume.safetensors");
  const auto written = std::filesystem::last_write_time(run + "/resume.safetensors");
  const TextFile people, machines;
  TrainOptions finished = resume_options(run);
  finished.json = true;
  REQUIRE(train(finished, people.stream(), machines.stream()) == 0);
  CHECK_THAT(people.text(), ContainsSubstring("has finished 6 of 6 steps: nothing is left to do"));
  CHECK(nlohmann::json::parse(machines.text()).at("finished") == true);
  CHECK(std::filesystem::last_write_time(run + "/resume.safetensors") == written);
  CHECK(read_text(run + "/resume.safetensors") == before);
}

TEST_CASE("what is no run cannot be resumed") {
  const TemporaryFolder folder;
  const auto message = [](const std::string& run) {
    return message_of<Error>([&] { train_quietly(resume_options(run)); });
  };
  CHECK_THAT(message(folder.file("none")), ContainsSubstring("got no such folder"));
  CHECK_THAT(message(folder.path().string()), ContainsSubstring("got one without resume.safetensors"));
  write_safetensors(folder.file("resume.safetensors"), {});
  CHECK_THAT(message(folder.path().string()), ContainsSubstring("got a file without recipe in its metadata"));
  for (const auto& [steps, state] : {std::pair("0", R"({"step": 0, "steps_per_epoch": 0, "data": ""})"),
                                     {"4000000000", R"({"step": 0, "steps_per_epoch": 4000000000, "data": ""})"}}) {
    write_safetensors(folder.file("resume.safetensors"),
                      {{}, {{"recipe", to_json(Recipe{}).dump()}, {"state", state}}});
    CHECK_THAT(message(folder.path().string()),
               ContainsSubstring(concat("expected a position within the run, got step 0 of 200 epochs of ", steps)));
  }

  const std::string run = folder.file("run");
  TrainOptions options = small_options(write_small_data(folder), run);
  options.max_steps = 1;
  REQUIRE(train_quietly(options) == 0);
  nlohmann::json config = nlohmann::json::parse(read_text(run + "/config.json"));
  config["epochs"] = 9;
  write_text(run + "/config.json", config.dump());
  CHECK_THAT(message(run), ContainsSubstring("expected the run's own configuration, got --epochs 9 instead of 2"));
  std::filesystem::remove(run + "/config.json");
  CHECK_THAT(message(run), ContainsSubstring("expected --data, got a run without config.json"));
}

/// The folder of a run that stopped after its first step.
std::string run_of_one_step(const TemporaryFolder& folder) {
  TrainOptions options = small_options(write_small_data(folder), folder.file("run"));
  options.max_steps = 1;
  REQUIRE(train_quietly(options) == 0);
  return options.out;
}

TEST_CASE("what a run's state claims costs no memory before its tensors were compared") {
  const TemporaryFolder folder;
  const std::string run = run_of_one_step(folder);
  SafetensorsFile state = read_safetensors(run + "/resume.safetensors");
  nlohmann::json recipe = nlohmann::json::parse(state.metadata.at("recipe"));
  nlohmann::json config = nlohmann::json::parse(read_text(run + "/config.json"));
  recipe["width"] = config["width"] = 64;
  state.metadata["recipe"] = recipe.dump();
  write_safetensors(run + "/resume.safetensors", state);
  write_text(run + "/config.json", config.dump());
  reset_peak_memory();
  const std::size_t before = memory_statistics().peak_bytes;
  CHECK_THAT(message_of<Error>([&] { train_quietly(resume_options(run)); }),
             ContainsSubstring("resume.safetensors") && ContainsSubstring("conv1.weight"));
  CHECK(memory_statistics().peak_bytes - before < 1'000'000);
}

TEST_CASE("totals that no epoch has are refused") {
  const TemporaryFolder folder;
  const std::string run = run_of_one_step(folder);
  SafetensorsFile state = read_safetensors(run + "/resume.safetensors");
  for (const std::vector<double>& totals : std::vector<std::vector<double>>{
           {std::nan(""), 1, 2}, {1, -1, 2}, {1, 3, 2}, {1, 1, 2.5}, {1, 1, std::nan("")}, {1, 1}}) {
    CAPTURE(totals);
    const auto count = static_cast<std::int64_t>(totals.size());
    state.tensors["run.totals"] = make_host_tensor<double>(totals, {count});
    write_safetensors(run + "/resume.safetensors", state);
    CHECK_THAT(message_of<Error>([&] { train_quietly(resume_options(run)); }),
               ContainsSubstring(count == 3 ? "expected run.totals with a finite sum, hits and at least as many images"
                                            : "expected run.totals [3], got shape [2]"));
  }
}

TEST_CASE("--init from an unfit file is refused, naming what the file looks like") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  TrainOptions options = small_options(data, folder.file("run"));
  options.given.insert("init");
  const auto init_from = [&](const ModelConfig& config) {
    options.recipe.init = folder.file("init.safetensors");
    write_safetensors(options.recipe.init, model_file(Model(config, 0), 1));
    return refusal(options);
  };
  ModelConfig config = options.recipe.model;
  config.width = 16;
  CHECK_THAT(init_from(config), ContainsSubstring("expected od_resnet18, width 8, K = 2, got a file that looks like "
                                                  "od_resnet18, width 16, K = 2: give --model od_resnet18 --width 16"));
  config.width = 8;
  config.kernels = 3;
  CHECK_THAT(init_from(config), ContainsSubstring("give --model od_resnet18 --kernels 3 or another file"));
  config.model = "resnet34";
  config.kernels = 1;
  CHECK_THAT(init_from(config), ContainsSubstring("looks like resnet34, width 8: give --model od_resnet34"));
  config = options.recipe.model;
  config.classes = 7;
  CHECK_THAT(init_from(config), ContainsSubstring("7 classes"));

  options.recipe.init = folder.file("none.safetensors");
  CHECK_THAT(refusal(options), ContainsSubstring("none.safetensors: expected a readable file"));
  options.recipe.init = folder.file("cut.safetensors");
  const std::string good = read_text(folder.file("init.safetensors"));
  write_text(options.recipe.init, good.substr(0, good.size() / 2));
  CHECK_THAT(refusal(options), StartsWith("[safetensors] " + options.recipe.init));
  std::string huge(16, '{');
  huge.replace(0, 8, std::string("\0\0\0\0\0\0\0\x10", 8));  // a header of 2^60 bytes
  write_text(options.recipe.init, huge);
  CHECK_THAT(refusal(options), StartsWith("[safetensors] " + options.recipe.init));

  const Trainer trainer(small_options(data, "").recipe, load_data(data));
  options.recipe.init = folder.file("resume.safetensors");
  write_safetensors(options.recipe.init, trainer.resume_file());
  CHECK_THAT(refusal(options), ContainsSubstring("got what a run is resumed from: take last.safetensors"));
}

TEST_CASE("checkpoints hold the model alone, with its configuration and temperature") {
  ModelConfig config;
  config.width = 8;
  config.kernels = 2;
  config.reduction = 1.0 / 3;
  const Model model(config, 4);
  const SafetensorsFile file = model_file(model, 26.1000000000000014);
  CHECK(file.tensors == model.store.state());
  CHECK(file.metadata.at("temperature") == "26.1");
  CHECK(file.metadata.at("format") == "pt");

  const TemporaryFolder folder;
  const std::string path = folder.file("m.safetensors");
  write_safetensors(path, file);
  const LoadedModel loaded = load_model(path, DType::f32);
  CHECK(loaded.model->config == config);
  CHECK(loaded.temperature == 26.1);
  CHECK(loaded.model->store.values().to_doubles() == model.store.values().to_doubles());

  SafetensorsFile plain{file.tensors, {}};
  write_safetensors(path, plain);
  CHECK(load_model(path, DType::f32).temperature == 1);
  plain.metadata["temperature"] = "-3";
  write_safetensors(path, plain);
  CHECK_THAT(message_of<Error>([&] { load_model(path, DType::f32); }),
             ContainsSubstring("expected a temperature above 0 in the metadata, got \"-3\""));
}

}  // namespace
}  // namespace omniconv::test
