// Moments of the columns of [rows, C], part by part: what kernels that have rows in hand leave for a norm over them.
#pragma once

#include <cstdint>

#include "kernels/simt/config.h"

namespace omniconv::kernels {

/// Rows in groups of `group_rows`, each cut into parts of `part_rows`, the last of which may be shorter. The moments of
/// the parts are [parts, 2, C]: the mean of a part's rows, then the sum of the squared deviations from it.
struct MomentParts {
  std::int64_t groups = 0, group_rows = 0, part_rows = 1;
  std::int64_t group_parts = 0;

  static MomentParts cut(std::int64_t groups, std::int64_t group_rows, std::int64_t part_rows) {
    return {groups, group_rows, part_rows, (group_rows + part_rows - 1) / part_rows};
  }
  std::int64_t count() const { return groups * group_parts; }
  std::int64_t rows() const { return groups * group_rows; }
  OMNI_HOST_DEVICE std::int64_t rows_of(std::int64_t part) const {
    const std::int64_t left = group_rows - part % group_parts * part_rows;
    return left < part_rows ? left : part_rows;
  }
};

}  // namespace omniconv::kernels
