#include "apps/training/metrics.h"

#include <sys/resource.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/training/json_text.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "metrics";

using Json = nlohmann::ordered_json;

void put(Json& json, const char* key, const std::optional<double>& value) {
  json[key] = value ? Json(*value) : Json(nullptr);
}

/// Nothing where the key is absent or null.
std::optional<double> take(const nlohmann::json& json, const char* key) {
  if (!json.contains(key) || json[key].is_null()) return std::nullopt;
  return json[key].get<double>();
}

}  // namespace

const EpochMetrics& best_of(const std::vector<EpochMetrics>& history) {
  return *std::max_element(history.begin(), history.end(),
                           [](const EpochMetrics& a, const EpochMetrics& b) { return a.chosen_by() < b.chosen_by(); });
}

Json to_json(const EpochMetrics& metrics) {
  Json json = {{"epoch", metrics.epoch}, {"step", metrics.step}};
  if (!metrics.stage.empty()) json["stage"] = metrics.stage;
  json["lr"] = metrics.lr;
  json["temperature"] = metrics.temperature;
  json["train_loss"] = metrics.train_loss;
  json["train_accuracy"] = metrics.train_accuracy;
  if (metrics.val_loss) {
    put(json, "val_loss", metrics.val_loss);
    put(json, "val_accuracy", metrics.val_accuracy);
  }
  put(json, "test_loss", metrics.test_loss);
  put(json, "test_accuracy", metrics.test_accuracy);
  if (metrics.best_test_loss) {
    put(json, "best_test_loss", metrics.best_test_loss);
    put(json, "best_test_accuracy", metrics.best_test_accuracy);
  }
  json["images_per_second"] = metrics.images_per_second;
  json["peak_bytes"] = metrics.peak_bytes;
  json["peak_rss_bytes"] = metrics.peak_rss_bytes;
  if (metrics.loss_scale) json["loss_scale"] = *metrics.loss_scale;
  if (metrics.skipped_steps) json["skipped_steps"] = *metrics.skipped_steps;
  return json;
}

std::string format_metrics(const std::vector<EpochMetrics>& lines) {
  std::string text;
  for (const EpochMetrics& line : lines) text += to_json(line).dump() + '\n';
  return text;
}

std::vector<EpochMetrics> parse_metrics(const std::string& text, const std::string& source) {
  std::vector<EpochMetrics> lines;
  std::istringstream input(text);
  for (std::string line; std::getline(input, line);) {
    try {
      const auto json = parse_json(line);
      expect(json.is_object(), where, source, ": expected an epoch's metrics in line ", lines.size() + 1,
             ", got other text");
      EpochMetrics metrics;
      json.at("epoch").get_to(metrics.epoch);
      json.at("step").get_to(metrics.step);
      if (json.contains("stage")) json["stage"].get_to(metrics.stage);
      json.at("lr").get_to(metrics.lr);
      json.at("temperature").get_to(metrics.temperature);
      json.at("train_loss").get_to(metrics.train_loss);
      json.at("train_accuracy").get_to(metrics.train_accuracy);
      metrics.val_loss = take(json, "val_loss");
      metrics.val_accuracy = take(json, "val_accuracy");
      metrics.test_loss = take(json, "test_loss");
      metrics.test_accuracy = take(json, "test_accuracy");
      metrics.best_test_loss = take(json, "best_test_loss");
      metrics.best_test_accuracy = take(json, "best_test_accuracy");
      json.at("images_per_second").get_to(metrics.images_per_second);
      json.at("peak_bytes").get_to(metrics.peak_bytes);
      json.at("peak_rss_bytes").get_to(metrics.peak_rss_bytes);
      metrics.loss_scale = take(json, "loss_scale");
      if (json.contains("skipped_steps")) metrics.skipped_steps = json["skipped_steps"].get<std::int64_t>();
      lines.push_back(metrics);
    } catch (const nlohmann::json::exception& error) {
      fail(where, source, ": expected an epoch's metrics in line ", lines.size() + 1, ", got: ", error.what());
    }
  }
  return lines;
}

std::int64_t peak_resident_bytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace omniconv
