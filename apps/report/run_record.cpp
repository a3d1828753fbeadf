#include "apps/report/run_record.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>

#include "apps/training/json_text.h"
#include "apps/training/run_folder.h"
#include "engine/files.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "report";

std::string read_all(const std::string& path) {
  const InputFile file(where, path);
  std::string content(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(content)));
  return content;
}

nlohmann::ordered_json parse_object(const std::string& content, const std::string& source) {
  auto json = parse_json<nlohmann::ordered_json>(content);
  expect(json.is_object(), where, source, ": expected the JSON of a run, got other text");
  return json;
}

}  // namespace

std::string RunRecord::setting(const std::string& key) const {
  for (const auto& [name, value] : configuration)
    if (name == key) return value;
  return "";
}

bool RunRecord::has(const std::string& key) const {
  const auto found = metrics.find(key);
  if (found == metrics.end()) return false;
  for (const double value : found->second)
    if (std::isfinite(value)) return true;
  return false;
}

Series RunRecord::curve(const std::string& key, const std::string& name) const {
  Series series{name, {}};
  const auto found = metrics.find(key);
  if (found == metrics.end()) return series;
  const std::vector<double>& epochs = metrics.at("epoch");
  for (std::size_t line = 0; line < epochs.size(); ++line) series.points.emplace_back(epochs[line], found->second[line]);
  return series;
}

std::size_t RunRecord::best_line() const {
  const auto found = metrics.find(chosen_by());
  if (found == metrics.end()) return metrics.at("epoch").size() - 1;
  std::size_t best = 0;
  for (std::size_t line = 1; line < found->second.size(); ++line)
    if (found->second[line] > found->second[best] || std::isnan(found->second[best])) best = line;
  return best;
}

RunRecord read_run(const std::string& path) {
  const RunFolder folder(path);
  RunRecord record{path, {}, {}};
  const auto config = parse_object(read_all(folder.file(RunFolder::config_name)), folder.file(RunFolder::config_name));
  for (const auto& [key, value] : config.items())
    record.configuration.emplace_back(key, value.is_string() ? value.get<std::string>() : value.dump());

  const std::string source = folder.file(RunFolder::metrics_name);
  std::istringstream lines(read_all(source));
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto epoch = parse_object(line, source);
    for (const auto& [key, value] : epoch.items()) {
      if (!value.is_number()) continue;
      std::vector<double>& column = record.metrics[key];
      column.resize(count, std::numeric_limits<double>::quiet_NaN());
      column.push_back(value.get<double>());
    }
  }
  for (auto& [key, column] : record.metrics) column.resize(count, std::numeric_limits<double>::quiet_NaN());
  expect(record.has("epoch"), where, source, ": expected the metrics of at least one epoch, got none");
  return record;
}

}  // namespace omniconv
