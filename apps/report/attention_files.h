// Attention statistics as files: pictures for people, JSON for machines.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "apps/report/attention_statistics.h"
#include "data/picture.h"

namespace omniconv {

/// {"classes": [{"name", "images"}], "layers": [{"name", "attentions": {"channel": {"width", "mean": [classes][width],
/// "standard_deviation", "mean_all": [width], "standard_deviation_all", "saturated", "entropy" (kernel)}},
/// "kernel_cosines": [K][K], "findings": [{"attention", "kind", "text"}]}]}
nlohmann::ordered_json to_json(const AttentionStatistics& statistics);

/// A heat map: a row per class, a column per entry, in cells of `cell` x `cell` pixels. Above the means, from 0 to 1;
/// below, under a white line, the deviations, from 0 to 0.25. Dark is low, bright is high.
Picture heat_map(const AttentionMap& map, std::int64_t cell);
/// The size of cells that makes a picture by itself neither tiny nor huge.
std::int64_t usual_cell(const AttentionMap& map);

/// Writes attention.json and LAYER.ATTENTION.png for each attention of each layer into `folder`, which exists.
/// @throws Error naming the file that cannot be written.
void write_attention(const std::string& folder, const AttentionStatistics& statistics);

}  // namespace omniconv
