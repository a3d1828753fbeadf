// The order of an epoch and how it is cut into batches.
#pragma once

#include <cstdint>
#include <vector>

namespace omniconv {

/// Indices [count] of the images of epoch `epoch` in the order of their use: a permutation that depends on the
/// arguments alone, or 0, 1, 2, ... without `shuffle`. @throws Error unless 0 <= count < 2^31.
std::vector<std::int32_t> epoch_order(std::int64_t count, std::uint64_t seed, std::uint64_t epoch, bool shuffle);

/// A batch: positions [begin, end) in the order of an epoch.
struct BatchRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end - begin; }
  friend bool operator==(const BatchRange&, const BatchRange&) = default;
};

/// Cuts `count` positions into batches of `batch_size`, the last one smaller if they do not come out even; with
/// `merge_single_tail`, a last one of one image joins the batch before it, if there is one (a batch norm over a single
/// image is undefined). @throws Error unless count >= 0 and batch_size >= 1.
std::vector<BatchRange> batch_ranges(std::int64_t count, std::int64_t batch_size, bool merge_single_tail);

}  // namespace omniconv
