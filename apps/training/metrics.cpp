#include "apps/training/metrics.h"

#include <sys/resource.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/error.h"

namespace omniconv {

nlohmann::ordered_json to_json(const EpochMetrics& metrics) {
  nlohmann::ordered_json json = {{"epoch", metrics.epoch},
                                 {"step", metrics.step},
                                 {"lr", metrics.lr},
                                 {"temperature", metrics.temperature},
                                 {"train_loss", metrics.train_loss},
                                 {"train_accuracy", metrics.train_accuracy},
                                 {"test_loss", metrics.test_loss},
                                 {"test_accuracy", metrics.test_accuracy},
                                 {"images_per_second", metrics.images_per_second},
                                 {"peak_bytes", metrics.peak_bytes},
                                 {"peak_rss_bytes", metrics.peak_rss_bytes}};
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
      const auto json = nlohmann::json::parse(line);
      EpochMetrics metrics;
      json.at("epoch").get_to(metrics.epoch);
      json.at("step").get_to(metrics.step);
      json.at("lr").get_to(metrics.lr);
      json.at("temperature").get_to(metrics.temperature);
      json.at("train_loss").get_to(metrics.train_loss);
      json.at("train_accuracy").get_to(metrics.train_accuracy);
      json.at("test_loss").get_to(metrics.test_loss);
      json.at("test_accuracy").get_to(metrics.test_accuracy);
      json.at("images_per_second").get_to(metrics.images_per_second);
      json.at("peak_bytes").get_to(metrics.peak_bytes);
      json.at("peak_rss_bytes").get_to(metrics.peak_rss_bytes);
      if (json.contains("loss_scale")) metrics.loss_scale = json["loss_scale"].get<double>();
      if (json.contains("skipped_steps")) metrics.skipped_steps = json["skipped_steps"].get<std::int64_t>();
      lines.push_back(metrics);
    } catch (const nlohmann::json::exception& error) {
      fail("metrics", source, ": expected an epoch's metrics in line ", lines.size() + 1, ", got: ", error.what());
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
