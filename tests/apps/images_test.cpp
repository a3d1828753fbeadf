// Pictures of one's own: packed into a data set, and classified.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "apps/training/text.h"
#include "data/normalise.h"
#include "data/picture.h"
#include "engine/safetensors.h"
#include "models/checkpoint.h"
#include "tests/apps/program.h"
#include "tests/apps/small_runs.h"

namespace omniconv::test {
namespace {

namespace fs = std::filesystem;

/// The images of `set` as folder/<class>/<index>.png.
void write_pictures(const fs::path& folder, const ImageSet& set, const std::vector<std::string>& names) {
  for (std::int64_t i = 0; i < set.count(); ++i) {
    Picture picture{image_extent, image_extent, {}};
    for (std::int64_t p = 0; p < image_extent * image_extent; ++p)
      for (std::int64_t c = 0; c < image_channels; ++c)
        picture.pixels.push_back(set.images[static_cast<std::size_t>((i * 3 + c) * image_extent * image_extent + p)]);
    const fs::path path = folder / names[set.labels[static_cast<std::size_t>(i)]] / text("%04d.png", static_cast<int>(i));
    fs::create_directories(path.parent_path());
    write_text(path, encode_png(picture));
  }
}

TEST_CASE("pack, train and predict: class names go along, and predict agrees with eval") {
  const TemporaryFolder folder;
  const ImageData drawn = make_synthetic(1, 30, 20);
  write_pictures(folder.path() / "mine" / "train", drawn.train, drawn.class_names);
  write_pictures(folder.path() / "mine" / "test", drawn.test, drawn.class_names);
  write_text(folder.path() / "mine" / "test" / "disc" / "to\nrn.png", "\x89PNG");
  const std::string data = folder.file("data"), run_folder = folder.file("run");
  const Words pack = {"pack", "--images", folder.file("mine"), "--out", data};
  check_one_line_error(pack, 1, "rn.png: expected a PNG, JPEG or BMP picture");
  CHECK_FALSE(fs::exists(data));
  const Outcome packed = run(pack + Words{"--skip-bad", "--json"});
  REQUIRE(packed.exit_code == 0);
  const auto summary = nlohmann::json::parse(packed.out);
  CHECK(summary.at("train") == 30);
  CHECK(summary.at("test") == 20);
  REQUIRE(summary.at("left_out").size() == 1);
  CHECK_THAT(summary.at("left_out")[0].at("file").get<std::string>(), ContainsSubstring("to\nrn.png"));
  CHECK_THAT(packed.err, ContainsSubstring("left out: [picture] ") && ContainsSubstring("to rn.png"));
  const ImageData read = read_cifar10(data);
  CHECK(read.class_names.size() == 10);
  CHECK(std::is_sorted(read.class_names.begin(), read.class_names.end()));

  REQUIRE(train_quietly(small_options(data, run_folder)) == 0);
  const std::string checkpoint = run_folder + "/last.safetensors";
  REQUIRE(run({"eval", "--checkpoint", checkpoint, "--data", data, "--logits", folder.file("logits")}).exit_code == 0);
  const SafetensorsFile logits = read_safetensors(folder.file("logits"));
  const std::vector<double> values = to_doubles(logits.tensors.at("logits"), "logits");

  // The first test image is the first of the first class.
  std::string first;
  for (const auto& entry : fs::directory_iterator(folder.path() / "mine" / "test" / read.class_names[0]))
    if (entry.path().extension() == ".png" && (first.empty() || entry.path().string() < first))
      first = entry.path().string();
  const Outcome predicted = run({"predict", "--checkpoint", checkpoint, "--json", "--top", "10", first, first});
  REQUIRE(predicted.exit_code == 0);
  const auto predictions = nlohmann::json::parse(predicted.out).at("predictions");
  REQUIRE(predictions.size() == 2);
  CHECK(predictions[0] == predictions[1]);
  CHECK(predictions[0].at("image") == first);
  const auto& classes = predictions[0].at("classes");
  REQUIRE(classes.size() == 10);
  double sum = 0, before = 1;
  for (const auto& entry : classes) {
    const auto label = entry.at("label").get<std::size_t>();
    const double probability = entry.at("probability");
    CHECK(entry.at("class") == read.class_names[label]);
    CHECK(probability <= before);
    before = probability;
    sum += probability;
    double all = 0;
    for (std::size_t other = 0; other < 10; ++other) all += std::exp(values[other] - values[label]);
    CHECK(probability == Approx(1 / all).epsilon(1e-4));
  }
  CHECK(sum == Approx(1).epsilon(1e-9));

  const Outcome shown = run({"predict", "--checkpoint", checkpoint, first});
  CHECK(std::count(shown.out.begin(), shown.out.end(), '\n') == 6);
  CHECK_THAT(shown.out, ContainsSubstring(classes[0].at("class").get<std::string>()));
}

TEST_CASE("predict takes pictures in the size that the checkpoint asks for") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder), run_folder = folder.file("run"), picture = folder.file("a.png");
  TrainOptions options = small_options(data, run_folder);
  options.max_steps = 1;
  REQUIRE(train_quietly(options) == 0);
  SafetensorsFile file = read_safetensors(run_folder + "/last.safetensors");
  file.metadata["image_size"] = "48";
  const std::string checkpoint = folder.file("large.safetensors");
  write_safetensors(checkpoint, file);
  Picture drawn{48, 48, {}};
  for (std::size_t i = 0; i < 3 * 48 * 48; ++i) drawn.pixels.push_back(static_cast<std::uint8_t>(i * i % 251));
  write_text(picture, encode_png(drawn));

  const Outcome outcome = run({"predict", "--checkpoint", checkpoint, "--json", "--top", "10", picture});
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  // The same function with a tape, at that size.
  const LoadedModel loaded = load_model(checkpoint, DType::f32);
  loaded.model->set_temperature(loaded.temperature);
  const ImageSet set{resize_to_planes(drawn, 48), {0}, 48};
  Tape tape(false);
  const Variable images(normalise(set, DType::f32));
  const std::vector<double> logits =
      loaded.model->net.forward(loaded.model->pass(tape, false), images).value().to_doubles();
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit);
  const auto classes = nlohmann::json::parse(outcome.out)["predictions"][0]["classes"];
  REQUIRE(classes.size() == 10);
  for (const auto& entry : classes)
    CHECK(entry["probability"].get<double>() == Approx(std::exp(logits[entry["label"]]) / sum).epsilon(1e-4));
}

TEST_CASE("predict names the file, the class list or the option that is wrong") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder), run_folder = folder.file("run");
  TrainOptions options = small_options(data, run_folder);
  options.max_steps = 1;
  REQUIRE(train_quietly(options) == 0);
  const std::string checkpoint = run_folder + "/last.safetensors", picture = folder.file("a.png");
  write_text(picture, encode_png({1, 1, {1, 2, 3}}));
  const Words predict = {"predict", "--checkpoint", checkpoint};
  check_one_line_error(predict, 2, "IMAGE is required");
  check_one_line_error(predict + Words{"--top", "0", picture}, 2, "--top of at least 1");
  check_one_line_error(predict + Words{"--temperature", "3:1:2", picture}, 2, "[predict] expected --temperature with one");
  check_one_line_error(predict + Words{picture, data + "/test_batch.bin"}, 1, "test_batch.bin: expected a PNG");
  write_text(data + "/batches.meta.txt", "a\nb\n");
  check_one_line_error(predict + Words{"--data", data, picture}, 1, "expected data of 10 classes");

  // Names of the data, of the checkpoint, and of neither.
  write_text(data + "/batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
  const auto first_name = [&](const Words& more) {
    return nlohmann::json::parse(run(predict + more + Words{"--json", picture}).out)["predictions"][0]["classes"][0];
  };
  const auto own = first_name({}), given = first_name({"--data", data});
  CHECK(given["class"] == std::string(1, static_cast<char>('a' + given["label"].get<int>())));
  CHECK(own["class"] == make_synthetic(1, 5, 1).class_names[own["label"].get<std::size_t>()]);
  SafetensorsFile file = read_safetensors(checkpoint);
  file.metadata.clear();
  write_safetensors(checkpoint, file);
  CHECK(first_name({})["class"] == concat("class ", own["label"].dump()));
  file.metadata["class_names"] = "a\nb";
  write_safetensors(checkpoint, file);
  check_one_line_error(predict + Words{picture}, 1, "expected 10 class names, got 2");
}

}  // namespace
}  // namespace omniconv::test
