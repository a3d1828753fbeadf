// Pages about runs: what is read, what is drawn, and that nothing in them can break out or reach out.
#include <cmath>
#include <limits>
#include <regex>

#include "apps/report/pages.h"
#include "apps/training/text.h"
#include "tests/apps/program.h"
#include "tests/apps/small_runs.h"

namespace omniconv::test {
namespace {

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

/// No script, no address but XML's name of SVG, and every element that is opened is closed.
void check_stands_by_itself(const std::string& html) {
  CHECK(count_of(html, "<script") == 0);
  CHECK(count_of(html, "://") == count_of(html, "xmlns=\"http://www.w3.org/2000/svg\""));
  CHECK(count_of(html, "url(") == 0);
  for (const char* element : {"div", "table", "tr", "td", "th", "figure", "svg", "text", "details", "p", "span", "b"}) {
    INFO(element);
    const std::string name = element;
    CHECK(count_of(html, concat("<", name, ">")) + count_of(html, concat("<", name, " ")) ==
          count_of(html, concat("</", name, ">")));
  }
}

void write_run(const std::string& folder, const std::string& config, const std::string& metrics) {
  std::filesystem::create_directories(folder);
  write_text(folder + "/config.json", config);
  write_text(folder + "/metrics.jsonl", metrics);
}

EpochMetrics metrics_of(std::int64_t epoch, double train_loss, std::optional<double> val_accuracy,
                        std::optional<double> test_accuracy) {
  EpochMetrics metrics;
  metrics.epoch = epoch;
  metrics.train_loss = train_loss;
  metrics.stage = "joint";
  metrics.val_accuracy = val_accuracy;
  if (val_accuracy) metrics.val_loss = 1;
  metrics.test_accuracy = test_accuracy;
  return metrics;
}

TEST_CASE("a run is read with what its lines have") {
  const TemporaryFolder folder;
  write_run(folder.file("run"), R"({"model": "od_resnet18", "lr": 0.5, "lr_milestones": [1, 2]})",
            format_metrics({metrics_of(1, 3, 0.25, {}), metrics_of(2, 2, 0.5, {}), metrics_of(3, 1, 0.5, 0.75)}));
  const RunRecord run = read_run(folder.file("run"));
  CHECK(run.setting("model") == "od_resnet18");
  CHECK(run.setting("lr") == "0.5");
  CHECK(run.setting("lr_milestones") == "[1,2]");
  CHECK(run.setting("nothing").empty());
  CHECK(best_of(run.history).epoch == 2);
  using Points = std::vector<std::pair<double, double>>;
  CHECK(run.curve("train_loss", "loss").points == Points{{1, 3}, {2, 2}, {3, 1}});
  CHECK(run.curve("test_accuracy", "test").points == Points{{3, 0.75}});
  CHECK(run.curve("stage", "stage").points.empty());

  const auto error = [&](const std::string& config, const std::string& metrics) {
    write_run(folder.file("bad"), config, metrics);
    return message_of<Error>([&] { read_run(folder.file("bad")); });
  };
  CHECK_THAT(error("[]", "{\"epoch\": 1}"), ContainsSubstring("config.json: expected the JSON of a run"));
  CHECK_THAT(error("{}", ""), ContainsSubstring("metrics.jsonl: expected the metrics of at least one epoch"));
  CHECK_THAT(error("{}", format_metrics({metrics_of(1, 3, {}, {})}) + "{\"epo"),
             ContainsSubstring("metrics.jsonl: expected an epoch's metrics in line 2"));
  CHECK_THAT(message_of<Error>([&] { read_run(folder.file("none")); }), ContainsSubstring("expected a readable file"));
}

TEST_CASE("a chart shows what is finite, with round tick marks") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(line_chart("t", "epoch", {}).empty());
  CHECK(line_chart("t", "epoch", {{"a", {{1, nan}}}}).empty());
  const std::string chart = line_chart(
      "<loss>", "epoch", {{"a&b", {{1, 0.12}, {2, nan}, {3, 0.48}}}, {"none", {{1, nan}}}, {"c", {{2, 0.3}}}});
  CHECK(count_of(chart, "<polyline") == 2);
  CHECK(count_of(chart, "<circle") == 3);
  CHECK_THAT(chart, ContainsSubstring("&lt;loss&gt;") && ContainsSubstring("a&amp;b, epoch 3: 0.48"));
  for (const char* tick : {">0.1<", ">0.2<", ">0.3<", ">0.4<", ">0.5<"}) CHECK_THAT(chart, ContainsSubstring(tick));
  // 0.1 to 0.5 over 210 pixels above 222: 0.12 lies at 222 − 0.05 · 210, x from 1 to 3 over 488 pixels from 58 on.
  CHECK_THAT(chart, ContainsSubstring("points=\"58.0,211.5 546.0,22.5 \""));
  check_stands_by_itself(chart);
  CHECK_THAT(line_chart("flat", "epoch", {{"a", {{1, 7}}}}), ContainsSubstring(">7<"));
}

/// Its figures are numbers, and few lines mark them.
void check_scale(const std::string& chart) {
  INFO(chart);
  CHECK(count_of(chart, "nan") == 0);
  CHECK(count_of(chart, "inf") == 0);
  CHECK(count_of(chart, "class=\"grid\"") >= 2);
  CHECK(count_of(chart, "class=\"grid\"") <= 12);
}

TEST_CASE("values that differ by rounding alone are flat, and ones that no scale reaches are left out") {
  const std::string rounded = line_chart("lr", "epoch", {{"a", {{1, 0.10000000000000002}, {2, 0.1}}}});
  check_scale(rounded);
  CHECK_THAT(rounded, ContainsSubstring(">0.1<") && ContainsSubstring(">0.09<") && ContainsSubstring(">0.11<"));
  check_scale(line_chart("x", "epoch", {{"a", {{1e15, 1}, {std::nextafter(1e15, 2e15), 2}}}}));
  check_scale(line_chart("close", "epoch", {{"a", {{1, 1}, {2, 1 + 2e-9}}}}));

  for (const double large : {1e308, 1e101}) {
    CHECK(line_chart("t", "epoch", {{"a", {{1, large}, {2, -large}}}}).empty());
    CHECK(line_chart("t", "epoch", {{"a", {{large, 1}, {-large, 2}}}}).empty());
    CHECK(count_of(line_chart("t", "epoch", {{"a", {{1, large}, {2, 1}, {3, 2}}}}, Axis::robust), "<circle") == 2);
  }
  constexpr double denormal = std::numeric_limits<double>::denorm_min();
  for (const Axis axis : {Axis::linear, Axis::robust})
    for (const double least : {denormal, 1e-310, 1e-100, 1e-90, 0.0, -denormal})
      for (const double most : {denormal, 1e-300, 1e-80, 1.0, 1e100})
        if (least < most) check_scale(line_chart("t", "epoch", {{"a", {{1, least}, {2, most}, {3, most}}}}, axis));
}

/// A curve over x = 1, 2, ...
Series curve_of(const std::string& name, const std::vector<double>& values) {
  Series series{name, {}};
  for (const double value : values) series.points.emplace_back(static_cast<double>(series.points.size() + 1), value);
  return series;
}

TEST_CASE("one outlier does not hide a curve of losses, and the axis says so") {
  const std::vector<double> training{2.2, 2.0, 1.8, 1.6, 1.5, 1.4}, test{2.1, 1.9, 80.25, 1.8, 1.7, 1.7};
  const std::vector<Series> curves{curve_of("training", training), curve_of("test", test)};
  const std::string robust = line_chart("Loss", "epoch", curves, Axis::robust);
  check_stands_by_itself(robust);
  // 1.4 to 2.2 in steps of 0.2: the outlier lies on the upper edge, at 12, as a triangle that tells its value.
  for (const char* tick : {">1.4<", ">1.6<", ">2.2<"}) CHECK_THAT(robust, ContainsSubstring(tick));
  CHECK_THAT(robust, ContainsSubstring(">1 above the edge, up to 80.2<") && !ContainsSubstring("logarithmic"));
  CHECK(count_of(robust, "<circle") == 11);
  REQUIRE(count_of(robust, "<polygon") == 1);
  CHECK_THAT(robust, ContainsSubstring("17.0 253.2,7.0 258.2,17.0\"><title>test, epoch 3: 80.25</title></polygon>"));
  const std::string linear = line_chart("Loss", "epoch", curves);
  CHECK(count_of(linear, "<polygon") == 0);
  CHECK_THAT(linear, ContainsSubstring(">80<") && !ContainsSubstring("above the edge"));

  // What is far above the rest of a curve is so beside a curve that falls by powers of ten, too.
  const std::string falling =
      line_chart("Loss", "epoch", {curve_of("training", {2, 0.5, 0.1, 0.02, 0.004, 0.001}), curves[1]}, Axis::robust);
  CHECK_THAT(falling, ContainsSubstring(">logarithmic; 1 above the edge, up to 80.2<"));
  CHECK(count_of(falling, "<polygon") == 1);

  // A mark that cannot be left out, however many points there are.
  std::vector<double> many(100, 1.5);
  many[50] = 9;
  const std::string long_run = line_chart("Loss", "epoch", {curve_of("test", many)}, Axis::robust);
  CHECK(count_of(long_run, "<circle") == 0);
  CHECK(count_of(long_run, "<polygon") == 1);
  // Twice the rest is no outlier yet.
  many[50] = 2.9;
  CHECK(count_of(line_chart("Loss", "epoch", {curve_of("test", many)}, Axis::robust), "<polygon") == 0);
}

TEST_CASE("losses of several powers of ten are shown on a logarithmic axis, which says so") {
  const std::string chart =
      line_chart("Loss", "epoch", {curve_of("training", {3, 1, 0.3, 0.1, 0.03, 0.015})}, Axis::robust);
  check_stands_by_itself(chart);
  CHECK_THAT(chart, ContainsSubstring(">logarithmic<"));
  // From 0.01 to 5 over 210 pixels above 222.
  for (const char* tick : {">0.01<", ">0.02<", ">0.05<", ">1<", ">5<"}) CHECK_THAT(chart, ContainsSubstring(tick));
  CHECK(count_of(chart, "class=\"grid\"") == 9);
  CHECK_THAT(chart, ContainsSubstring(text(",%.1f ", 222 - 210 * std::log(0.1 / 0.01) / std::log(5 / 0.01))));
  const std::string wide = line_chart("Loss", "epoch", {curve_of("training", {3, 1e-2, 1e-4, 2e-7})}, Axis::robust);
  CHECK_THAT(wide, ContainsSubstring(">1e-07<") && ContainsSubstring(">10<") && !ContainsSubstring(">0.2<"));
  CHECK(count_of(wide, "class=\"grid\"") == 9);
  // A hair below a power of ten is that power.
  for (const double least : {0.1 * (1 - 2e-9), 0.1 * (1 - 1e-12), 0.1, 0.1 * (1 + 1e-12)}) {
    const std::string near = line_chart("Loss", "epoch", {curve_of("training", {2, 1, least})}, Axis::robust);
    INFO(near);
    CHECK_THAT(near, ContainsSubstring(">0.1<") && ContainsSubstring(">2<"));
    CHECK(count_of(near, "class=\"grid\"") == 5);
  }
  // A loss of nothing has no logarithm.
  const std::string zero = line_chart("Loss", "epoch", {curve_of("training", {3, 1, 0.01, 0})}, Axis::robust);
  CHECK_THAT(zero, ContainsSubstring(">0<") && ContainsSubstring(">3<") && !ContainsSubstring("logarithmic"));
  CHECK(count_of(zero, "<circle") == 4);
}

TEST_CASE("classes are counted and the most confident mistakes come first") {
  const ImageData data = make_synthetic(2, 5, 4);
  ImageSet set = data.test;
  set.labels = {0, 1, 1, 0};
  const std::vector<double> logits = {2, 0, 1, 0, 0, 3, 0, 5};  // right, surely wrong, right, most surely wrong
  const TestResults results = test_results(logits, set, {"a", "b"});
  CHECK(results.confusion == std::vector<std::int64_t>{1, 1, 1, 1});
  REQUIRE(results.mistakes.size() == 2);
  CHECK(results.mistakes[0].image == 3);
  CHECK(results.mistakes[0].truth == 0);
  CHECK(results.mistakes[0].prediction.label == 1);
  CHECK(results.mistakes[0].prediction.probability == Approx(1 / (1 + std::exp(-5.0))));
  CHECK(results.mistakes[1].image == 1);
  const std::size_t pixels = 32 * 32;
  CHECK(results.pictures[1].pixels[3 * 33 + 1] == set.images[(1 * 3 + 1) * pixels + 33]);
  // The same bytes as images of another size: sixteen of 16x16, of which the last ones are taken.
  ImageSet smaller{set.images, std::vector<std::uint8_t>(16, 1), 16};
  std::vector<double> alike(32, 0);
  for (std::size_t i = 0; i < 16; ++i) alike[2 * i + (i == 14 ? 0 : 1)] = 4;
  const TestResults of_smaller = test_results(alike, smaller, {"a", "b"});
  REQUIRE(of_smaller.pictures.size() == 1);
  CHECK(of_smaller.pictures[0].width == 16);
  CHECK(of_smaller.pictures[0].height == 16);
  CHECK(of_smaller.pictures[0].pixels.size() == 3 * 256);
  CHECK(of_smaller.pictures[0].pixels[3 * 17 + 2] == set.images[(14 * 3 + 2) * 256 + 17]);
  CHECK_THAT(message_of<Error>([&] {
               test_results({logits.data(), 6}, set, {"a", "b"});
             }),
             ContainsSubstring("expected logits of 4 images and 2 classes, got 6"));
  const std::vector<double> bad = {0, std::numeric_limits<double>::infinity()};
  CHECK_THAT(message_of<Error>([&] { most_probable(bad, 1); }), ContainsSubstring("expected finite logits, got inf"));
}

TEST_CASE("names from files cannot break out of a page") {
  RunRecord run{"runs/<b>\"x\"", {{"model", "<script>"}, {"epochs", "2"}}, {}};
  run.history = {metrics_of(1, 2, {}, 0.5), metrics_of(2, 1, {}, 0.25)};
  RunDetails details{"best.safetensors", {{"a</td>", "<i>b"}, {3, 1, 0, 4}, {{0, 0, {1, 0.75}}}, {}}, {}};
  details.test.pictures.push_back({1, 1, {1, 2, 3}});
  AttentionStatistics attention{{"a", "b"}, {4, 4}, {{"layer<1>", {}, {}, {{"kernel", "uniform", "it is > 0.99"}}}}};
  attention.layers[0].maps.push_back({"kernel", 2, {0, 1, 1, 0}, {0, 0, 0, 0}, {0.5, 0.5}, {0, 0}, 0, 1});
  details.attention = attention;
  const std::string page = run_page(run, details);
  check_stands_by_itself(page);
  CHECK_THAT(page, ContainsSubstring("runs/&lt;b&gt;&quot;x&quot;") && ContainsSubstring("a&lt;/td&gt;") &&
                       ContainsSubstring("layer&lt;1&gt;") && ContainsSubstring("it is &gt; 0.99"));
  CHECK_THAT(page, ContainsSubstring("<td style=\"--share:0.56\">3</td>") && ContainsSubstring("<b>0.5000</b>"));
  // Of one pixel, whose bytes are known: PNG's signature in base64.
  CHECK(count_of(page, "src=\"data:image/png;base64,iVBORw0KGgo") == 2);

  RunRecord other = run;
  other.path = "other";
  other.configuration[0].second = "resnet18";
  const std::string comparison = comparison_page({run, other});
  check_stands_by_itself(comparison);
  CHECK_THAT(comparison, ContainsSubstring("<th>model</th>") && !ContainsSubstring("<th>epochs</th>"));
  CHECK(count_of(comparison, "<polyline") == 12);  // two of each key but the losses and accuracies that are not there
}

TEST_CASE("omniconv report writes a page into the run's folder, and one that compares runs") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder), first = folder.file("a&b"), second = folder.file("static");
  TrainOptions options = small_options(data, first);
  REQUIRE(train_quietly(options) == 0);
  options = small_options(data, second);
  options.recipe.model.model = "resnet18";
  options.recipe.model.kernels = 1;
  REQUIRE(train_quietly(options) == 0);

  REQUIRE(run({"report", first}).exit_code == 0);
  const std::string page = read_text(first + "/report.html");
  check_stands_by_itself(page);
  CHECK_THAT(page,
             ContainsSubstring("a&amp;b") && ContainsSubstring("Temperature") && ContainsSubstring("layer4.1.conv2"));
  std::int64_t counted = 0;
  const std::regex cell("--share:[0-9.]+\">([0-9]+)<");
  for (std::sregex_iterator match(page.begin(), page.end(), cell), end; match != end; ++match)
    counted += std::stoll((*match)[1]);
  CHECK(counted == 20);

  const std::string comparison = folder.file("compare.html");
  const Outcome compared = run({"report", first, second, "--out", comparison, "--json"});
  REQUIRE(compared.exit_code == 0);
  CHECK(nlohmann::json::parse(compared.out).at("report") == comparison);
  check_stands_by_itself(read_text(comparison));
  REQUIRE(run({"report", second, "--data", data, "--out", folder.file("second.html")}).exit_code == 0);
  CHECK(count_of(read_text(folder.file("second.html")), "<h2>Attention") == 0);
  CHECK_FALSE(std::filesystem::exists(second + "/report.html"));

  check_one_line_error({"report", first, second}, 2, "[report] expected --out");
  check_one_line_error({"report", first, second, "--out", comparison, "--data", data}, 2, "--data with one run");
  check_one_line_error({"report", first, second, "--out", comparison, "--threads", "1"}, 2, "--threads with one run");
  check_one_line_error({"report", folder.file("nowhere")}, 1, "config.json: expected a readable file");
  check_one_line_error({"report", first, "--data", folder.file("nowhere")}, 1, "got no such folder");
  // A new run into the folder leaves no page about the old one.
  options.out = first;
  REQUIRE(train_quietly(options) == 0);
  CHECK_FALSE(std::filesystem::exists(first + "/report.html"));
}

TEST_CASE("omniconv train leaves the page of its run, unless told not to") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  std::vector<std::string> words = {"train",    "--data", data,           "--width", "8",     "--kernels",       "2",
                                    "--epochs", "1",      "--batch-size", "12",      "--out", folder.file("run")};
  REQUIRE(run(words).exit_code == 0);
  check_stands_by_itself(read_text(folder.file("run/report.html")));
  words.push_back("--no-report");
  REQUIRE(run(words).exit_code == 0);
  CHECK_FALSE(std::filesystem::exists(folder.file("run/report.html")));

  // A page that cannot be written takes nothing from the run.
  words.back() = "--max-steps";
  words.push_back("1");
  REQUIRE(run(words).exit_code == 0);
  std::filesystem::remove(folder.file("run/report.html"));
  std::filesystem::create_directories(folder.file("run/report.html/full"));
  const Outcome outcome = run({"train", "--resume", folder.file("run"), "--json"});
  CHECK(outcome.exit_code == 0);
  CHECK(nlohmann::json::parse(outcome.out).at("finished") == true);
  CHECK_THAT(outcome.err, ContainsSubstring("report not written: [report] "));
}

}  // namespace
}  // namespace omniconv::test
