#include "apps/report/pages.h"

#include <algorithm>
#include <numeric>

#include "apps/report/attention_files.h"
#include "apps/training/text.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

constexpr const char* style = R"css(
:root { color-scheme: light dark; --page: #ffffff; --card: #f6f6f8; --ink: #1c1c20; --soft: #5d5d66; --rule: #dcdce2;
  --c0: #2468c8; --c1: #c2500f; --c2: #15795b; --c3: #7b4bc4; --c4: #8a6a00; --c5: #b0336f; --heat: 36, 104, 200; }
@media (prefers-color-scheme: dark) { :root { --page: #141417; --card: #1e1e23; --ink: #ececf0; --soft: #a2a2ad;
  --rule: #35353d; --c0: #6aa5ff; --c1: #ff9a5c; --c2: #4fcba0; --c3: #bb98ff; --c4: #dcb640; --c5: #ff8abb;
  --heat: 106, 165, 255; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 12px; }
p { margin: 0 0 12px; color: var(--soft); max-width: 75ch; }
.tiles, .charts, .mistakes { display: grid; gap: 12px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); margin-top: 20px; }
.tiles div { background: var(--card); border-radius: 8px; padding: 10px 14px; }
.tiles b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: 13px; }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
figure { margin: 0; background: var(--card); border-radius: 8px; padding: 12px; min-width: 0; }
figcaption { font-weight: 600; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--rule); }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
polyline.dashed { stroke-dasharray: 6 4; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 13px; color: var(--soft); overflow-wrap: anywhere; }
.legend i { display: inline-block; width: 14px; height: 3px; margin-right: 6px; vertical-align: middle; }
.s0 { stroke: var(--c0); } circle.s0, polygon.s0 { fill: var(--c0); } i.s0 { background: var(--c0); }
.s1 { stroke: var(--c1); } circle.s1, polygon.s1 { fill: var(--c1); } i.s1 { background: var(--c1); }
.s2 { stroke: var(--c2); } circle.s2, polygon.s2 { fill: var(--c2); } i.s2 { background: var(--c2); }
.s3 { stroke: var(--c3); } circle.s3, polygon.s3 { fill: var(--c3); } i.s3 { background: var(--c3); }
.s4 { stroke: var(--c4); } circle.s4, polygon.s4 { fill: var(--c4); } i.s4 { background: var(--c4); }
.s5 { stroke: var(--c5); } circle.s5, polygon.s5 { fill: var(--c5); } i.s5 { background: var(--c5); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
th { font-weight: 600; }
.compared td { overflow-wrap: normal; }
.confusion td, .confusion th { border: 0; padding: 3px 6px; text-align: right; white-space: nowrap; }
.confusion td { min-width: 34px; text-align: center; background: rgba(var(--heat), var(--share)); }
.confusion thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; }
.mistakes { grid-template-columns: repeat(auto-fill, minmax(112px, 1fr)); }
.mistakes figure { padding: 8px; font-size: 13px; overflow-wrap: anywhere; }
.mistakes img { display: block; width: 100%; image-rendering: pixelated; border-radius: 4px; }
details { background: var(--card); border-radius: 8px; padding: 8px 12px; margin-bottom: 8px; }
summary { cursor: pointer; overflow-wrap: anywhere; }
.map { margin: 8px 0; font-size: 13px; color: var(--soft); }
.map img { display: block; height: 168px; width: 100%; image-rendering: pixelated; }
)css";

std::string base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j) text += i + j <= bytes.size() ? digits[group >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

std::string image(const Picture& picture, std::string_view description) {
  return concat("<img alt=\"", escape(description), "\" src=\"data:image/png;base64,", base64(encode_png(picture)), "\">");
}

std::string page(std::string_view title, std::string_view content) {
  return concat("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>", escape(title),
                "</title><style>", style, "</style></head><body><main>", content, "</main></body></html>\n");
}

std::string tile(std::string_view name, std::string_view value) {
  return concat("<div><span>", escape(name), "</span><b>", escape(value), "</b></div>");
}

std::string tiles_of(const RunRecord& run) {
  const EpochMetrics &best = best_of(run.history), &last = run.history.back();
  return concat("<div class=\"tiles\">",
                tile(best.val_accuracy ? "best validation accuracy" : "best test accuracy",
                     text("%.4f", best.chosen_by())),
                tile("after epoch", concat(best.epoch)),
                tile("epochs", concat(last.epoch, " of ", run.setting("epochs"))),
                tile("images/s, last epoch", text("%.1f", last.images_per_second)),
                tile("most bytes of tensors", text("%.0f MB", static_cast<double>(last.peak_bytes) / 1e6)), "</div>");
}

struct ChartOf {
  const char* title;
  std::vector<std::pair<const char*, const char*>> curves;  ///< keys and names
  Axis axis = Axis::linear;
};

const std::vector<ChartOf>& charts() {
  static const std::vector<ChartOf> all = {
      {"Loss", {{"train_loss", "training"}, {"val_loss", "validation"}, {"test_loss", "test"}}, Axis::robust},
      {"Accuracy", {{"train_accuracy", "training"}, {"val_accuracy", "validation"}, {"test_accuracy", "test"}}},
      {"Learning rate", {{"lr", "learning rate"}}},
      {"Temperature", {{"temperature", "temperature"}}},
      {"Images per second", {{"images_per_second", "images/s"}}}};
  return all;
}

std::string charts_of(const RunRecord& run) {
  std::string html;
  for (const ChartOf& chart : charts()) {
    std::vector<Series> series;
    for (const auto& [key, name] : chart.curves) series.push_back(run.curve(key, name));
    html += line_chart(chart.title, "epoch", series, chart.axis);
  }
  return concat("<div class=\"charts\">", html, "</div>");
}

std::string confusion_table(const TestResults& test) {
  const std::size_t classes = test.class_names.size();
  std::string html = "<div class=\"wide\"><table class=\"confusion\"><thead><tr><td></td>";
  for (const std::string& name : test.class_names) html += concat("<th scope=\"col\">", escape(name), "</th>");
  html += "</tr></thead><tbody>";
  for (std::size_t truth = 0; truth < classes; ++truth) {
    html += concat("<tr><th scope=\"row\">", escape(test.class_names[truth]), "</th>");
    std::int64_t total = 0;
    for (std::size_t taken = 0; taken < classes; ++taken) total += test.confusion[truth * classes + taken];
    for (std::size_t taken = 0; taken < classes; ++taken) {
      const std::int64_t count = test.confusion[truth * classes + taken];
      const double share = total > 0 ? static_cast<double>(count) / static_cast<double>(total) : 0;
      html += text("<td style=\"--share:%.2f\">%lld</td>", 0.75 * share, static_cast<long long>(count));
    }
    html += "</tr>";
  }
  return html + "</tbody></table></div>";
}

std::string mistakes_of(const TestResults& test) {
  std::string html;
  const auto name = [&](std::int64_t label) { return escape(test.class_names[static_cast<std::size_t>(label)]); };
  for (std::size_t i = 0; i < test.mistakes.size(); ++i) {
    const Mistake& mistake = test.mistakes[i];
    const std::string index = concat("test image ", mistake.image);
    html += concat("<figure>", image(test.pictures[i], index), "<b>", name(mistake.prediction.label), "</b> ",
                   text("%.2f", mistake.prediction.probability), "<br>is ", name(mistake.truth), "</figure>");
  }
  return html.empty() ? "<p>There are none.</p>" : concat("<div class=\"mistakes\">", html, "</div>");
}

std::string attention_of(const AttentionStatistics& statistics) {
  std::string findings, layers;
  for (const LayerAttention& layer : statistics.layers) {
    std::string maps;
    for (const AttentionMap& map : layer.maps)
      maps += concat("<div class=\"map\">", map.attention, ", ", map.width, map.width == 1 ? " entry" : " entries",
                     image(heat_map(map, 1), concat(layer.name, ' ', map.attention)), "</div>");
    for (const Finding& finding : layer.findings)
      findings += concat("<tr><td>", escape(layer.name), "</td><td>", escape(finding.text), "</td></tr>");
    layers += concat("<details", layers.empty() ? " open" : "", "><summary>", escape(layer.name),
                     layer.findings.empty() ? "" : concat(" (findings: ", layer.findings.size(), ")"), "</summary>", maps,
                     "</details>");
  }
  const auto images = std::accumulate(statistics.class_counts.begin(), statistics.class_counts.end(), std::int64_t{0});
  return concat("<h2>Attention</h2><p>Each map has a row per class and a column per entry: above the line the mean over ",
                images, " test images, from 0 (dark) to 1 (bright), below it the standard deviation, from 0 to 0.25.</p>",
                findings.empty() ? "<p>No attention has collapsed.</p>"
                                 : concat("<div class=\"wide\"><table>", findings, "</table></div><br>"),
                layers);
}

std::string configuration_table(const RunRecord& run) {
  std::string rows;
  for (const auto& [key, value] : run.configuration)
    rows += concat("<tr><th scope=\"row\">", escape(key), "</th><td>", escape(value), "</td></tr>");
  return concat("<h2>Configuration</h2><div class=\"wide\"><table>", rows, "</table></div>");
}

/// Settings that are not the same in all runs.
std::vector<std::string> differing_settings(const std::vector<RunRecord>& runs) {
  std::vector<std::string> keys;
  for (const RunRecord& run : runs)
    for (const auto& [key, value] : run.configuration) {
      const bool differs = std::any_of(runs.begin(), runs.end(), [&, name = key, own = value](const RunRecord& other) {
        return other.setting(name) != own;
      });
      if (differs && std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  return keys;
}

}  // namespace

std::string run_page(const RunRecord& run, const RunDetails& details) {
  const std::string about = concat(run.setting("model"), ", width ", run.setting("width"), ", K = ",
                                   run.setting("kernels"), ", seed ", run.setting("seed"));
  return page(concat("Run ", run.path),
              concat("<h1>", escape(run.path), "</h1><p>", escape(about), "</p>", tiles_of(run), "<h2>Training</h2>",
                     charts_of(run), "<h2>Confusion</h2><p>Test images by class (row) and by what ",
                     escape(details.checkpoint), " takes them for (column).</p>", confusion_table(details.test),
                     "<h2>Most confident mistakes</h2>", mistakes_of(details.test),
                     details.attention ? attention_of(*details.attention) : "", configuration_table(run)));
}

std::string comparison_page(const std::vector<RunRecord>& runs) {
  std::string head = "<th>run</th><th>best accuracy</th><th>epoch</th><th>last train loss</th><th>images/s</th>", rows;
  const std::vector<std::string> keys = differing_settings(runs);
  for (const std::string& key : keys) head += concat("<th>", escape(key), "</th>");
  for (const RunRecord& run : runs) {
    const EpochMetrics &best = best_of(run.history), &last = run.history.back();
    rows += concat("<tr><th scope=\"row\">", escape(run.path), "</th>",
                   text("<td>%.4f</td><td>%lld</td><td>%.4f</td><td>%.1f</td>", best.chosen_by(),
                        static_cast<long long>(best.epoch), last.train_loss, last.images_per_second));
    for (const std::string& key : keys) rows += concat("<td>", escape(run.setting(key)), "</td>");
    rows += "</tr>";
  }
  std::string curves;
  for (const ChartOf& chart : charts())
    for (const auto& [key, name] : chart.curves) {
      std::vector<Series> series;
      for (const RunRecord& run : runs) series.push_back(run.curve(key, run.path));
      const bool several = chart.curves.size() > 1;
      curves += line_chart(several ? concat(chart.title, ", ", name) : chart.title, "epoch", series, chart.axis);
    }
  return page("Runs compared",
              concat("<h1>", runs.size(), " runs compared</h1><p>The best accuracy is the one that best.safetensors was ",
                     "chosen by; the columns behind images/s are the settings that differ.</p>",
                     "<div class=\"wide\"><table class=\"compared\"><thead><tr>", head, "</tr></thead><tbody>", rows,
                     "</tbody></table></div><h2>Training</h2><div class=\"charts\">", curves, "</div>"));
}

}  // namespace omniconv
