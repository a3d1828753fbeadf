#include "apps/report/attention_files.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "apps/training/json_text.h"
#include "engine/files.h"

namespace omniconv {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view where = "attention";
constexpr double largest_deviation = 0.25;
using Colour = std::array<std::uint8_t, 3>;

/// The colour of `value` in [0, 1]: from dark violet over teal to yellow, evenly brighter, so that it reads in grey, too.
Colour colour_of(double value) {
  constexpr Colour stops[] = {{68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}};
  constexpr double intervals = std::size(stops) - 1;
  const double position = std::clamp(value, 0.0, 1.0) * intervals;
  const double first = std::min(std::floor(position), intervals - 1);
  const Colour& low = stops[static_cast<std::size_t>(first)];
  const Colour& high = stops[static_cast<std::size_t>(first) + 1];
  Colour colour;
  for (std::size_t c = 0; c < colour.size(); ++c)
    colour[c] = static_cast<std::uint8_t>(std::lround(low[c] + (position - first) * (high[c] - low[c])));
  return colour;
}

/// Appends a block of cells of `values` [rows, width], scaled by 1 / `largest`.
void append_cells(Picture& picture, const std::vector<double>& values, std::int64_t width, double largest,
                  std::int64_t cell) {
  const std::int64_t rows = static_cast<std::int64_t>(values.size()) / width;
  for (std::int64_t y = 0; y < rows * cell; ++y)
    for (std::int64_t x = 0; x < width * cell; ++x) {
      const Colour colour = colour_of(values[static_cast<std::size_t>(y / cell * width + x / cell)] / largest);
      picture.pixels.insert(picture.pixels.end(), colour.begin(), colour.end());
    }
  picture.height += rows * cell;
}

nlohmann::ordered_json rows_of(const std::vector<double>& values, std::size_t width) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (std::size_t begin = 0; begin < values.size(); begin += width)
    rows.push_back(std::vector<double>(values.begin() + static_cast<std::ptrdiff_t>(begin),
                                       values.begin() + static_cast<std::ptrdiff_t>(begin + width)));
  return rows;
}

nlohmann::ordered_json to_json(const AttentionMap& map) {
  const auto width = static_cast<std::size_t>(map.width);
  nlohmann::ordered_json json = {{"width", map.width},
                                 {"mean", rows_of(map.mean, width)},
                                 {"standard_deviation", rows_of(map.standard_deviation, width)},
                                 {"mean_all", map.mean_all},
                                 {"standard_deviation_all", map.standard_deviation_all},
                                 {"saturated", map.saturated}};
  if (map.attention == "kernel") json["entropy"] = map.entropy;
  return json;
}

}  // namespace

nlohmann::ordered_json to_json(const AttentionStatistics& statistics) {
  nlohmann::ordered_json json = {{"classes", nlohmann::ordered_json::array()},
                                 {"layers", nlohmann::ordered_json::array()}};
  for (std::size_t label = 0; label < statistics.class_names.size(); ++label)
    json["classes"].push_back({{"name", statistics.class_names[label]}, {"images", statistics.class_counts[label]}});
  for (const LayerAttention& layer : statistics.layers) {
    nlohmann::ordered_json entry = {{"name", layer.name}};
    for (const AttentionMap& map : layer.maps) entry["attentions"][map.attention] = to_json(map);
    const auto kernels = std::lround(std::sqrt(static_cast<double>(layer.kernel_cosines.size())));
    entry["kernel_cosines"] = rows_of(layer.kernel_cosines, static_cast<std::size_t>(std::max(1L, kernels)));
    entry["findings"] = nlohmann::ordered_json::array();
    for (const Finding& finding : layer.findings)
      entry["findings"].push_back({{"attention", finding.attention}, {"kind", finding.kind}, {"text", finding.text}});
    json["layers"].push_back(std::move(entry));
  }
  return json;
}

Picture heat_map(const AttentionMap& map, std::int64_t cell) {
  const std::int64_t line = std::max<std::int64_t>(1, cell / 12);
  Picture picture{0, map.width * cell, {}};
  append_cells(picture, map.mean, map.width, 1, cell);
  picture.pixels.insert(picture.pixels.end(), static_cast<std::size_t>(line * picture.width * 3), 255);
  picture.height += line;
  append_cells(picture, map.standard_deviation, map.width, largest_deviation, cell);
  return picture;
}

std::int64_t usual_cell(const AttentionMap& map) {
  constexpr std::int64_t least_cell = 4, usual_width = 512, largest_cell = 24;
  return std::clamp(usual_width / map.width, least_cell, largest_cell);
}

void write_attention(const std::string& folder, const AttentionStatistics& statistics) {
  for (const LayerAttention& layer : statistics.layers)
    for (const AttentionMap& map : layer.maps)
      write_file(where, (fs::path(folder) / concat(layer.name, '.', map.attention, ".png")).string(),
                 encode_png(heat_map(map, usual_cell(map))));
  write_file(where, (fs::path(folder) / "attention.json").string(), json_line(to_json(statistics)) + '\n');
}

}  // namespace omniconv
