#include "apps/report/run_record.h"

#include <nlohmann/json.hpp>

#include "apps/training/json_text.h"
#include "apps/training/run_folder.h"
#include "engine/files.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "report";

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

Series RunRecord::curve(const std::string& key, const std::string& name) const {
  Series series{name, {}};
  for (const EpochMetrics& line : history) {
    const auto values = to_json(line);
    const auto value = values.find(key);
    if (value != values.end() && value->is_number())
      series.points.emplace_back(static_cast<double>(line.epoch), value->get<double>());
  }
  return series;
}

RunRecord read_run(const std::string& path) {
  const RunFolder folder(path);
  RunRecord record{path, {}, {}};
  const std::string source = folder.file(RunFolder::config_name);
  const auto config = parse_object(read_text(where, source), source);
  for (const auto& [key, value] : config.items())
    record.configuration.emplace_back(key, value.is_string() ? value.get<std::string>() : value.dump());

  record.history = folder.read_metrics();
  expect(!record.history.empty(), where, folder.file(RunFolder::metrics_name),
         ": expected the metrics of at least one epoch, got none");
  return record;
}

}  // namespace omniconv
