// Attention statistics against plain sums, collapse in words, and the files of `omniconv attention`.
#include <algorithm>
#include <cmath>
#include <limits>

#include "apps/report/attention_files.h"
#include "data/picture.h"
#include "tests/apps/program.h"
#include "tests/apps/small_runs.h"

namespace omniconv::test {
namespace {

ModelConfig small_config() {
  ModelConfig config;
  config.width = 8;
  config.kernels = 3;
  return config;
}

ImageSet one_image(const ImageSet& set, std::int64_t index) {
  const auto first = set.images.begin() + index * image_bytes;
  return {{first, first + image_bytes}, {set.labels[static_cast<std::size_t>(index)]}};
}

AttentionStatistics look_at(const Model& model, const ImageSet& images, const std::vector<std::string>& class_names) {
  return attention_statistics(model, Dataset(images), images.count(), class_names);
}

/// A layer with nothing wrong.
LayerAttention healthy_layer() {
  LayerAttention layer{"layer", {}, {1, 0.2, 0.2, 1}, {}};
  layer.maps.push_back({"channel", 2, {0.4, 0.6}, {0.1, 0.1}, {0.4, 0.6}, {0.1, 0.1}, 0, 0});
  layer.maps.push_back({"kernel", 2, {0.3, 0.7}, {0.1, 0.1}, {0.3, 0.7}, {0.1, 0.1}, 0, 0.85});
  return layer;
}

TEST_CASE("means and deviations by class are those of the images taken one by one") {
  const ImageData data = make_synthetic(3, 5, 23);
  const Model model(small_config(), 5);
  const AttentionStatistics together = look_at(model, data.test, data.class_names);
  std::vector<AttentionStatistics> alone;
  for (std::int64_t i = 0; i < data.test.count(); ++i)
    alone.push_back(look_at(model, one_image(data.test, i), data.class_names));

  // Sixteen 3x3 convolutions and three shortcuts.
  REQUIRE(together.layers.size() == 19);
  CHECK(together.layers[0].name == "layer1.0.conv1");
  CHECK(together.layers[0].maps.size() == 4);
  const auto shortcut = std::find_if(together.layers.begin(), together.layers.end(), [](const LayerAttention& layer) {
    return layer.name == "layer2.0.downsample.0";
  });
  REQUIRE(shortcut != together.layers.end());
  CHECK(shortcut->maps.size() == 2);
  CHECK(shortcut->kernel_cosines.empty());
  CHECK(together.class_counts == std::vector<std::int64_t>{3, 3, 3, 2, 2, 2, 2, 2, 2, 2});

  double worst = 0, largest_deviation = 0;
  for (std::size_t l = 0; l < together.layers.size(); ++l)
    for (std::size_t m = 0; m < together.layers[l].maps.size(); ++m) {
      const AttentionMap& map = together.layers[l].maps[m];
      const auto width = static_cast<std::size_t>(map.width);
      for (std::size_t label = 0; label <= 10; ++label)  // 10: all of them
        for (std::size_t i = 0; i < width; ++i) {
          std::vector<double> values;
          for (std::size_t n = 0; n < alone.size(); ++n)
            if (label == 10 || data.test.labels[n] == label) values.push_back(alone[n].layers[l].maps[m].mean_all[i]);
          double mean = 0, variance = 0;
          for (const double value : values) mean += value / static_cast<double>(values.size());
          for (const double value : values) variance += (value - mean) * (value - mean) / static_cast<double>(values.size());
          const double found_mean = label == 10 ? map.mean_all[i] : map.mean[label * width + i];
          const double found_deviation =
              label == 10 ? map.standard_deviation_all[i] : map.standard_deviation[label * width + i];
          worst = std::max({worst, std::abs(found_mean - mean), std::abs(found_deviation - std::sqrt(variance))});
          largest_deviation = std::max(largest_deviation, found_deviation);
        }
      if (map.attention == "kernel") {
        double entropy = 0;
        for (const AttentionStatistics& one : alone)
          for (const double p : one.layers[l].maps[m].mean_all) entropy -= p > 0 ? p * std::log(p) : 0;
        CHECK(map.entropy == Approx(entropy / 23 / std::log(3.0)).margin(1e-5));
      }
    }
  CHECK(worst < 1e-4);
  CHECK(largest_deviation > 0.01);  // or the comparison would say little
}

TEST_CASE("heads that start at zero are found to be neutral, equal kernels to duplicate each other") {
  const ImageData data = make_synthetic(3, 5, 4);
  ModelConfig config = small_config();
  config.attention_init = AttentionInit::zero;
  Model model(config, 5);
  auto state = model.store.state();
  HostTensor& weight = state.at("layer1.0.conv1.weight");  // [3, 8, 8, 3, 3]
  const auto third = static_cast<std::ptrdiff_t>(weight.bytes.size() / 3);
  std::copy(weight.bytes.begin(), weight.bytes.begin() + third, weight.bytes.begin() + 2 * third);
  model.store.load_state(state, "test");
  const AttentionStatistics statistics = look_at(model, data.test, data.class_names);
  std::vector<std::string> kinds;
  for (const Finding& finding : statistics.layers[0].findings) kinds.push_back(finding.attention + ' ' + finding.kind);
  CHECK(kinds == std::vector<std::string>{"channel constant", "filter constant", "spatial constant", "kernel uniform",
                                          "kernel constant", "kernel duplicates"});
  CHECK(statistics.layers[0].findings.back().text == "kernels 0 and 2 nearly duplicate each other (cosine 1.0000)");
  CHECK(statistics.layers[0].kernel_cosines[2] == Approx(1));
  CHECK(std::abs(statistics.layers[0].kernel_cosines[1]) < 0.5);
  CHECK(statistics.layers[0].maps[0].mean_all == std::vector<double>(8, 0.5));
  CHECK(statistics.layers[1].findings.size() == 5);
}

TEST_CASE("each way to collapse is found, and none in a healthy layer") {
  CHECK(find_collapse(healthy_layer()).empty());
  const auto found = [](const auto& change) {
    LayerAttention layer = healthy_layer();
    change(layer);
    const std::vector<Finding> findings = find_collapse(layer);
    REQUIRE(findings.size() == 1);
    return findings[0].attention + ' ' + findings[0].kind + ": " + findings[0].text;
  };
  CHECK_THAT(found([](LayerAttention& layer) { layer.maps[1].entropy = 0.995; }), StartsWith("kernel uniform: "));
  CHECK_THAT(found([](LayerAttention& layer) { layer.maps[1].mean_all = {0.03, 0.97}; }),
             StartsWith("kernel single: kernel 1 has 97 % of"));
  CHECK_THAT(found([](LayerAttention& layer) { layer.maps[1].entropy = 0.04; }), StartsWith("kernel saturated: "));
  CHECK_THAT(found([](LayerAttention& layer) { layer.maps[0].saturated = 0.6; }),
             StartsWith("channel saturated: 60 % of the channel attention's values"));
  CHECK_THAT(found([](LayerAttention& layer) {
               layer.maps[0].standard_deviation_all = {0.001, 0.0002};
             }),
             StartsWith("channel constant: "));
  CHECK_THAT(found([](LayerAttention& layer) { layer.kernel_cosines = {1, 0.995, 0.995, 1}; }),
             StartsWith("kernel duplicates: kernels 0 and 1"));
}

TEST_CASE("attentions cannot be looked at where there are none, or none that are finite") {
  const ImageData data = make_synthetic(3, 5, 4);
  ModelConfig config = small_config();
  Model model(config, 5);
  CHECK_THAT(message_of<Error>([&] { attention_statistics(model, Dataset(data.test), 0, data.class_names); }),
             ContainsSubstring("expected images to look at"));
  auto state = model.store.state();
  HostTensor& bias = state.at("layer1.1.conv1.attention.channel_fc.bias");
  bias = make_host_tensor(std::vector<float>(8, std::numeric_limits<float>::quiet_NaN()), {8});
  model.store.load_state(state, "test");
  CHECK_THAT(message_of<Error>([&] { look_at(model, data.test, data.class_names); }),
             ContainsSubstring("expected finite attentions, got ") && ContainsSubstring("nan: the"));
  config.model = "resnet18";
  config.kernels = 1;
  CHECK_THAT(message_of<Error>([&] { look_at(Model(config, 5), data.test, data.class_names); }),
             ContainsSubstring("dynamic convolutions, got the static resnet18"));
}

TEST_CASE("a heat map has a row for each class, means above and deviations below") {
  AttentionMap map{"kernel", 2, {0, 1, 1, 0}, {0, 0.25, 0.25, 0}, {0.5, 0.5}, {0.5, 0.5}, 0, 0};
  const Picture picture = heat_map(map, 24);
  const std::int64_t cell = 24;
  REQUIRE(picture.width == 48);
  REQUIRE(picture.height == 4 * cell + 2);
  const auto pixel = [&](std::int64_t y, std::int64_t x) {
    const auto first = picture.pixels.begin() + (y * picture.width + x) * 3;
    return std::vector<int>(first, first + 3);
  };
  const std::vector<int> low = {68, 1, 84}, high = {253, 231, 37}, white = {255, 255, 255};
  CHECK(pixel(0, 0) == low);
  CHECK(pixel(cell - 1, cell) == high);
  CHECK(pixel(cell, cell - 1) == high);
  CHECK(pixel(2 * cell - 1, 2 * cell - 1) == low);
  CHECK(pixel(2 * cell, 0) == white);
  CHECK(pixel(2 * cell + 1, cell) == white);
  CHECK(pixel(2 * cell + 2, 0) == low);
  CHECK(pixel(2 * cell + 2, cell) == high);
  CHECK(pixel(4 * cell + 1, 0) == high);
}

TEST_CASE("omniconv attention writes heat maps and numbers, and says what it found") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder), run_folder = folder.file("run"), out = folder.file("attention");
  TrainOptions options = small_options(data, run_folder);
  options.recipe.model.attention_init = AttentionInit::zero;
  options.max_steps = 1;
  REQUIRE(train_quietly(options) == 0);
  const std::string checkpoint = run_folder + "/last.safetensors";
  const Words words = {"attention", "--checkpoint", checkpoint, "--data", data, "--out", out};
  const Outcome outcome = run(words + Words{"--images", "13", "--json"});
  REQUIRE(outcome.exit_code == 0);
  CHECK_THAT(outcome.err, ContainsSubstring("on 13 test images") && ContainsSubstring("layer1.0.conv1") &&
                              ContainsSubstring("findings."));
  const auto json = nlohmann::json::parse(outcome.out);
  CHECK(json == nlohmann::json::parse(read_text(out + "/attention.json")));
  REQUIRE(json.at("layers").size() == 19);
  std::int64_t images = 0;
  for (const auto& entry : json.at("classes")) images += entry.at("images").get<std::int64_t>();
  CHECK(images == 13);
  const auto& kernel = json.at("layers")[0].at("attentions").at("kernel");
  CHECK(kernel.at("mean").size() == 10);
  CHECK(kernel.at("standard_deviation").size() == 10);
  CHECK(kernel.at("mean")[0].size() == 2);
  CHECK(kernel.at("entropy").get<double>() > 0.9);
  CHECK(json.at("layers")[0].at("kernel_cosines").size() == 2);
  // Four of each 3x3 convolution, two of each shortcut, and the numbers.
  CHECK(std::distance(std::filesystem::directory_iterator(out), {}) == 16 * 4 + 3 * 2 + 1);
  CHECK(read_picture(out + "/layer4.1.conv2.spatial.png").width % 9 == 0);

  check_one_line_error(words + Words{"--images", "0"}, 2, "--images of at least 1");
  check_one_line_error({"attention", "--checkpoint", checkpoint, "--data", data, "--out", data + "/test_batch.bin"}, 1,
                       "expected a folder to write to");
}

}  // namespace
}  // namespace omniconv::test
