// The order of an epoch and its batches.
#include "data/batches.h"

#include <algorithm>
#include <numeric>

#include "kernels/error.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

TEST_CASE("an epoch's order is a permutation that depends on seed and epoch alone") {
  const std::vector<std::int32_t> order = epoch_order(1000, 3, 5, true);
  std::vector<std::int32_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::int32_t> all(1000);
  std::iota(all.begin(), all.end(), 0);
  CHECK(sorted == all);
  CHECK(order == epoch_order(1000, 3, 5, true));
  CHECK(order != epoch_order(1000, 3, 6, true));
  CHECK(order != epoch_order(1000, 4, 5, true));
  CHECK(epoch_order(1000, 3, 5, false) == all);
  CHECK(epoch_order(0, 3, 5, true).empty());
  CHECK(epoch_order(1, 3, 5, true) == std::vector<std::int32_t>{0});
  // The same on every platform: a resumed run may have moved.
  CHECK(epoch_order(8, 0, 0, true) == std::vector<std::int32_t>{3, 0, 2, 5, 1, 6, 4, 7});
}

TEST_CASE("every image is as likely in every place") {
  constexpr int count = 8;
  constexpr int epochs = 20'000;
  int seen[count][count] = {};
  for (int epoch = 0; epoch < epochs; ++epoch) {
    const auto order = epoch_order(count, 1, static_cast<std::uint64_t>(epoch), true);
    for (int place = 0; place < count; ++place) ++seen[place][order[static_cast<std::size_t>(place)]];
  }
  // 2500 expected; 250 is more than five standard deviations (47 each).
  for (const auto& row : seen) {
    for (const int times : row) CHECK(std::abs(times - epochs / count) < 250);
  }
}

TEST_CASE("batches cover the epoch and keep its tail") {
  using Ranges = std::vector<BatchRange>;
  CHECK(batch_ranges(10, 4, true) == Ranges{{0, 4}, {4, 8}, {8, 10}});
  CHECK(batch_ranges(8, 4, true) == Ranges{{0, 4}, {4, 8}});
  CHECK(batch_ranges(3, 4, true) == Ranges{{0, 3}});
  CHECK(batch_ranges(0, 4, true).empty());
  CHECK(batch_ranges(3, 1'000'000'000'000, true) == Ranges{{0, 3}});
  CHECK(batch_ranges(5085, 128, true).size() == 40);
}

TEST_CASE("a tail of one image joins the batch before it where asked") {
  using Ranges = std::vector<BatchRange>;
  CHECK(batch_ranges(9, 4, true) == Ranges{{0, 4}, {4, 9}});
  CHECK(batch_ranges(9, 4, false) == Ranges{{0, 4}, {4, 8}, {8, 9}});
  CHECK(batch_ranges(3, 2, true) == Ranges{{0, 3}});
  CHECK(batch_ranges(1, 4, true) == Ranges{{0, 1}});
  CHECK(batch_ranges(3, 1, true) == Ranges{{0, 1}, {1, 2}, {2, 3}});
}

TEST_CASE("impossible counts are refused") {
  CHECK_THAT(
      message_of<Error>([] { batch_ranges(10, 0, true); }),
      ContainsSubstring("[batches] expected at least 0 images in batches of at least 1, got 10 in batches of 0"));
  CHECK_THAT(message_of<Error>([] { batch_ranges(-1, 4, true); }), ContainsSubstring("got -1 in batches of 4"));
  CHECK_THAT(message_of<Error>([] { epoch_order(-1, 0, 0, true); }),
             ContainsSubstring("[batches] expected 0 to 2147483647 images, got -1"));
  CHECK_THAT(message_of<Error>([] { epoch_order(std::int64_t{1} << 31, 0, 0, false); }),
             ContainsSubstring("got 2147483648"));
}

}  // namespace
}  // namespace omniconv::test
