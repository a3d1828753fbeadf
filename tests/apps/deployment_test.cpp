// convert, export and bench --inference, as a shell starts them.
#include "apps/export/onnx.h"
#include "engine/safetensors.h"
#include "tests/apps/program.h"
#include "tests/apps/small_runs.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

/// A folder with a small data set and a checkpoint trained on it.
struct Trained {
  TemporaryFolder folder;
  std::string data = write_small_data(folder);
  std::string checkpoint = folder.file("run") + "/last.safetensors";

  Trained() { REQUIRE(train_quietly(small_options(data, folder.file("run"))) == 0); }
  Words convert(const std::string& to, const std::string& out) const {
    return {"convert", "--checkpoint", checkpoint, "--to", to, "--out", folder.file(out)};
  }
  std::vector<float> logits(const std::string& file) const {
    const std::string out = folder.file("logits.safetensors");
    REQUIRE(run({"eval", "--checkpoint", file, "--data", data, "--logits", out}).exit_code == 0);
    return to_floats(read_safetensors(out).tensors.at("logits"), "logits");
  }
};

TEST_CASE("convert --to static writes a plain ResNet, the same bytes whatever the threads") {
  const Trained trained;
  const Words words =
      trained.convert("static", "static.safetensors") +
      Words{"--data", trained.data, "--samples", "16", "--finetune", "2", "--batch-size", "12", "--json"};
  const Outcome outcome = run(words);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const auto json = nlohmann::json::parse(outcome.out);
  CHECK(json.at("layers").size() == 19);
  CHECK(json.at("layers")[0].at("name") == "layer1.0.conv1");
  CHECK(json.at("layers")[0].at("relative_error").get<double>() > 0);
  for (const char* when : {"before", "after", "finetuned"}) CHECK(json.at(when).at("test_accuracy").is_number());
  CHECK_THAT(outcome.err, ContainsSubstring("calibrating on 16 training images") &&
                              ContainsSubstring("fine-tuning: epoch 2 of 2") && ContainsSubstring("resnet18, width 8"));

  const std::string file = trained.folder.file("static.safetensors");
  const SafetensorsFile written = read_safetensors(file);
  CHECK(written.metadata.at("model") == "resnet18");
  CHECK(written.tensors.at("layer1.0.conv1.weight").shape == Shape{8, 8, 3, 3});
  for (const auto& [name, tensor] : written.tensors) CHECK(name.find("attention") == std::string::npos);
  CHECK(trained.logits(file).size() == 200);
  const Words eval = {"eval", "--checkpoint", file, "--data", trained.data};
  check_one_line_error(eval + Words{"--temperature", "2"}, 2,
                       "[eval] expected a --temperature of 1 for the static resnet18, got 2");
  CHECK(run(eval + Words{"--temperature", "1"}).exit_code == 0);

  Words again = words + Words{"--threads", "1"};
  *(std::find(again.begin(), again.end(), "--out") + 1) = trained.folder.file("again.safetensors");
  REQUIRE(run(again).exit_code == 0);
  CHECK(read_text(trained.folder.file("again.safetensors")) == read_text(file));
}

TEST_CASE("convert tells of a file whose name is not UTF-8") {
  const Trained trained;
  const Outcome outcome = run(trained.convert("folded", "mod\xE8le") + Words{"--json"});
  REQUIRE(outcome.exit_code == 0);
  CHECK(nlohmann::json::parse(outcome.out).at("out") == trained.folder.file("mod\uFFFDle"));
}

TEST_CASE("convert --to folded is exact, and what it writes is read like any checkpoint") {
  const Trained trained;
  const Outcome outcome =
      run(trained.convert("folded", "folded.safetensors") + Words{"--data", trained.data, "--json"});
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const std::string file = trained.folder.file("folded.safetensors");
  const SafetensorsFile original = read_safetensors(trained.checkpoint), folded = read_safetensors(file);
  CHECK(folded.metadata.at("temperature") == original.metadata.at("temperature"));
  CHECK(folded.tensors.contains("layer1.0.conv1.attention.fc.bias"));
  const std::vector<float> expected = trained.logits(trained.checkpoint), actual = trained.logits(file);
  float largest = 0;
  for (const float value : expected) largest = std::max(largest, std::abs(value));
  require_close(actual, expected, {1e-5 * largest, 0}, "logits");
  CHECK(run({"inspect", "--checkpoint", file}).exit_code == 0);
  const auto inspected = nlohmann::json::parse(run({"inspect", "--checkpoint", file, "--json"}).out);
  CHECK(inspected.at("model").at("folded") == true);
  CHECK(inspected.at("model").at("class_names").size() == 10);
}

TEST_CASE("inspect shows names of a file without what steers a terminal") {
  const Trained trained;
  SafetensorsFile named = read_safetensors(trained.checkpoint);
  named.tensors["tail\x1b[31m\n"] = named.tensors.at("fc.bias");
  const std::string file = trained.folder.file("named.safetensors");
  write_safetensors(file, named);
  const Outcome text = run({"inspect", "--checkpoint", file});
  REQUIRE(text.exit_code == 0);
  CHECK_THAT(text.out, !ContainsSubstring("\x1b") && ContainsSubstring("tail [31m  "));
  const auto json = nlohmann::json::parse(run({"inspect", "--checkpoint", file, "--json"}).out);
  CHECK(json.at("tensors").back().at("name") == "tail\x1b[31m\n");
}

TEST_CASE("conversions that cannot be done end in one line and no file") {
  const Trained trained;
  const Words to_static = trained.convert("static", "out.safetensors"), data = {"--data", trained.data};
  check_one_line_error(trained.convert("dense", "out.safetensors"), 2, "--to static or folded, got dense");
  check_one_line_error(to_static, 2, "[convert] expected --data");
  check_one_line_error(to_static + data + Words{"--samples", "0"}, 2, "--samples of at least 2, got 0");
  check_one_line_error(to_static + data + Words{"--finetune", "-1"}, 2, "--finetune of at least 0");
  check_one_line_error(to_static + data + Words{"--batch-size", "1"}, 2, "--batch-size of at least 2");
  check_one_line_error(to_static + data + Words{"--finetune-lr", "nan"}, 2, "--finetune-lr above 0");
  check_one_line_error(to_static + data + Words{"--finetune-lr", "2000"}, 2,
                       "--finetune-lr above 0 and at most 1000, got 2000");
  check_one_line_error(to_static + data + Words{"--seed", "-1"}, 2, "--seed of at least 0");
  check_one_line_error(trained.convert("folded", "out.safetensors") + Words{"--samples", "8"}, 2,
                       "--samples with --to static");
  check_one_line_error(
      trained.convert("static", "no/such/folder/out") + data, 1,
      "expected a file in a folder that exists, got no folder " + trained.folder.file("no/such/folder"));
  check_one_line_error(trained.convert("static", "run") + data, 1, "expected a file to write, got a folder");

  const std::string fixed = trained.folder.file("static.safetensors"),
                    folded = trained.folder.file("folded.safetensors");
  REQUIRE(run(trained.convert("static", "static.safetensors") + data).exit_code == 0);
  REQUIRE(run(trained.convert("folded", "folded.safetensors")).exit_code == 0);
  const Words out = {"--out", trained.folder.file("out.safetensors")};
  check_one_line_error(Words{"convert", "--checkpoint", fixed, "--to", "static"} + out + data, 1, "static already");
  for (const char* to : {"static", "folded"})
    check_one_line_error(Words{"convert", "--checkpoint", folded, "--to", to} + out + data, 1,
                         "expected a model with batch norms");
  check_one_line_error({"train", "--data", trained.data, "--out", trained.folder.file("tuned"), "--width", "8",
                        "--kernels", "2", "--epochs", "1", "--init", folded},
                       1, "got a folded one: take the checkpoint that was folded");

  SafetensorsFile large = read_safetensors(trained.checkpoint);
  large.metadata["image_size"] = "64";
  write_safetensors(trained.folder.file("large.safetensors"), large);
  check_one_line_error(
      Words{"convert", "--checkpoint", trained.folder.file("large.safetensors"), "--to", "static"} + out + data, 1,
      "expected images of 64x64, which the checkpoint is meant for, got 32x32");

  SafetensorsFile partial = read_safetensors(trained.checkpoint);
  partial.tensors.erase("layer1.0.conv1.weight");
  const std::string incomplete = trained.folder.file("incomplete.safetensors");
  write_safetensors(incomplete, partial);
  check_one_line_error(Words{"convert", "--checkpoint", incomplete, "--to", "folded"} + out, 1,
                       "(looks like od_resnet18 of width 8): expected the tensors of this model, got missing: "
                       "layer1.0.conv1.weight");

  write_text(trained.data + "/batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n");
  check_one_line_error(to_static + data, 1, "expected data of 10 classes, as the checkpoint has, got 11");
  std::string batch = trained.data + "/data_batch_1.bin";
  write_text(batch, read_text(batch).substr(1));
  check_one_line_error(to_static + data, 1, "[cifar10]");
  for (const std::string& name : trained.folder.names()) CHECK(name.find("out.safetensors") == std::string::npos);
}

TEST_CASE("export writes an ONNX model or says why not") {
  const Trained trained;
  const std::string model = trained.folder.file("model.onnx");
  const Words words = {"export", "--checkpoint", trained.checkpoint, "--out", model};
  check_one_line_error(words + Words{"--opset", "9"}, 2, "expected --opset of 13 to 17, got 9");
  check_one_line_error(words + Words{"--opset", "99"}, 2, "got 99");
  check_one_line_error({"export", "--checkpoint", trained.checkpoint, "--out", "/no/such/folder/model.onnx"}, 1,
                       "[export] /no/such/folder/model.onnx: expected a file in a folder that exists");
  check_one_line_error({"export", "--checkpoint", trained.data + "/test_batch.bin", "--out", model}, 1,
                       "[safetensors]");
  CHECK_FALSE(std::filesystem::exists(model));
  const Outcome outcome = run(words);
  INFO(outcome.err);
  if (outcome.err.find("[export] expected a build with ONNX, got one without: install libonnx-dev") !=
      std::string::npos) {
    CHECK(outcome.exit_code == 1);
    return;
  }
  REQUIRE(outcome.exit_code == 0);
  CHECK_THAT(outcome.out, ContainsSubstring("at temperature 2 as ONNX, opset 17"));
  const std::string bytes = read_text(model);
  CHECK(bytes.size() > 100'000);
  CHECK_THAT(bytes, ContainsSubstring("layer4.1.conv2.attention.kernel_fc.weight"));
  REQUIRE(run(words).exit_code == 0);
  CHECK(read_text(model) == bytes);
}

TEST_CASE("an operator set that a model does not fit is a usage error") {
  CHECK_NOTHROW(check_opset({}, 13));
  CHECK_NOTHROW(check_opset({.attention_norm = AttentionNorm::layer}, 17));
  CHECK_THROWS_AS(check_opset({}, 12), UsageError);
  CHECK_THROWS_AS(check_opset({}, 18), UsageError);
  CHECK_THROWS_WITH(check_opset({.attention_norm = AttentionNorm::layer}, 16),
                    ContainsSubstring("[export] expected --opset 17 for a model with layer norms, got 16"));
}

TEST_CASE("bench --inference times all forms") {
  const Outcome outcome = run({"bench", "--inference", "--width", "8", "--batch-size", "1", "--steps", "3", "--json"});
  REQUIRE(outcome.exit_code == 0);
  const auto timings = nlohmann::json::parse(outcome.out).at("inference");
  REQUIRE(timings.size() == 3);
  CHECK(timings[0].at("form") == "dynamic");
  CHECK(timings[2].at("form") == "static");
  for (const auto& timing : timings) {
    CHECK(timing.at("batch_size") == 1);
    CHECK(timing.at("median_seconds").get<double>() > 0);
    CHECK(timing.at("p95_seconds") >= timing.at("median_seconds"));
  }
  CHECK(nlohmann::json::parse(
            run({"bench", "--inference", "--model", "resnet18", "--width", "8", "--steps", "3", "--json"}).out)
            .at("inference")
            .size() == 6);
  check_one_line_error({"bench", "--inference", "--batch-size", "0"}, 2, "--batch-size of at least 1");
}

}  // namespace
}  // namespace omniconv::test
