// How sums over samples are cut into parts, each of which a block of its own sums up, and how the parts are added up.
// For .cu files only.
#pragma once

#include <cstdint>

#include "kernels/columns.h"

namespace omniconv::kernels {

/// Into how many parts the sum over `units` (samples, or groups of them) of each of `tiles` is cut, each part a block,
/// where one block fills a multiprocessor. More parts cost memory and a second pass, so they have to save a tenth of
/// the time. A function of the shape alone, or results would differ between GPUs: an H100 has 132 multiprocessors.
inline std::int64_t parts_of_sum(std::int64_t tiles, std::int64_t units) {
  constexpr std::int64_t multiprocessors = 132, most_waves = 4;
  const auto time = [&](std::int64_t parts) {
    const std::int64_t waves = (tiles * parts + multiprocessors - 1) / multiprocessors;
    return waves * ((units + parts - 1) / parts);
  };
  std::int64_t best = 1;
  for (std::int64_t parts = 2; parts <= units && tiles * parts <= most_waves * multiprocessors; ++parts)
    if (10 * time(parts) <= 9 * time(best)) best = parts;
  return best;
}

/// The units of one part, from `first` to before `end`.
struct PartOfSum {
  int first, end;

  OMNI_HOST_DEVICE static PartOfSum of(int part, int parts, int units) {
    const int part_units = (units + parts - 1) / parts;
    const int first = part * part_units, end = first + part_units;
    return {first, end < units ? end : units};
  }
};

/// Elements of workspace for parts of `count` sums each.
inline std::int64_t parts_workspace(std::int64_t parts, std::int64_t count) {
  return parts > 1 ? parts * count : 0;
}

/// Calls start(sums, accumulate), which launches the blocks, with where these leave the sums of their parts, [parts,
/// count], and adds the parts up in `result` [count], in order. Without a result there is nothing to leave.
template <class Value, class Start>
void sum_in_parts(std::int64_t parts, std::int64_t count, Value* result, bool accumulate, Value* workspace,
                  Stream stream, const Start& start) {
  if (!result || parts == 1) return start(result, accumulate);
  start(workspace, false);
  launch_column_sums<Value>(1, parts, count, workspace, 1.0, result, accumulate, stream);
}

}  // namespace omniconv::kernels
