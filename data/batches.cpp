#include "data/batches.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "data/draws.h"
#include "kernels/error.h"

namespace omniconv {

std::vector<std::int32_t> epoch_order(std::int64_t count, std::uint64_t seed, std::uint64_t epoch, bool shuffle) {
  expect(count >= 0 && count <= std::numeric_limits<std::int32_t>::max(), "batches",
         "expected 0 to 2147483647 images, got ", count);
  std::vector<std::int32_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  if (!shuffle) return order;
  Draws draws(seed, DrawPurpose::epoch_order, epoch);
  for (std::size_t left = order.size(); left > 1; --left) {
    std::swap(order[left - 1], order[static_cast<std::size_t>(draws.below(static_cast<std::int64_t>(left)))]);
  }
  return order;
}

std::vector<BatchRange> batch_ranges(std::int64_t count, std::int64_t batch_size, bool merge_single_tail) {
  expect(count >= 0 && batch_size >= 1, "batches", "expected at least 0 images in batches of at least 1, got ", count,
         " in batches of ", batch_size);
  std::vector<BatchRange> ranges;
  for (std::int64_t begin = 0; begin < count;) {
    const std::int64_t end = begin + std::min(batch_size, count - begin);
    ranges.push_back({begin, end});
    begin = end;
  }
  if (merge_single_tail && batch_size > 1 && ranges.size() > 1 && ranges.back().size() == 1) {
    ranges.pop_back();
    ranges.back().end = count;
  }
  return ranges;
}

}  // namespace omniconv
