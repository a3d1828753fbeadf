#include "apps/training/statistics.h"

#include <cmath>

#include "kernels/error.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

TEST_CASE("mean and standard deviation of a sample") {
  CHECK(spread_of({3}).mean == 3);
  CHECK(spread_of({3}).standard_deviation == 0);
  CHECK(spread_of({1, 2, 6}).mean == 3);
  CHECK(spread_of({1, 2, 6}).standard_deviation == Approx(std::sqrt(7.0)));
  CHECK_THAT(message_of<Error>([] { spread_of({}); }), StartsWith("[statistics] expected at least 1 value"));
}

TEST_CASE("quantiles lie between neighbours linearly, and the median is one of them") {
  CHECK(quantile({7}, 0.95) == 7);
  CHECK(quantile({1, 2, 4, 8}, 0) == 1);
  CHECK(quantile({1, 2, 4, 8}, 0.5) == 3);
  CHECK(quantile({1, 2, 4, 8}, 0.9) == Approx(6.8));
  CHECK(quantile({1, 2, 4, 8}, 1) == 8);
  CHECK(median({8, 1, 4, 2}) == 3);
  CHECK(median({5, 1, 2}) == 2);
}

TEST_CASE("the p-value counts the signs that lead as far") {
  CHECK(sign_flip_p_value({0.1, 0.2, 0.3}) == 2.0 / 8);   // only +++ and ---
  CHECK(sign_flip_p_value({0.1, -0.1, 0.3}) == 6.0 / 8);  // all but the two whose sum is 0.1
  CHECK(sign_flip_p_value({1, 2, 4, -1}) == 6.0 / 16);    // ±(1 2 4 1), ±(1 2 4 -1), ±(-1 2 4 1)
  CHECK(sign_flip_p_value({0, 0}) == 1);
  CHECK(sign_flip_p_value({5}) == 1);
  CHECK(message_of<Error>([] { sign_flip_p_value({}); }) == "[statistics] expected at least 1 pair, got none");
  // More pairs than are summed exactly: all of one sign is as unlikely as drawing can show.
  CHECK(sign_flip_p_value(std::vector<double>(30, 0.5)) < 1e-4);
  std::vector<double> mixed(30, 0.5);
  for (std::size_t i = 0; i < 15; ++i) mixed[i] = -0.5;
  CHECK(sign_flip_p_value(mixed) == 1);
  CHECK_THROWS_AS(sign_flip_p_value({}), Error);
}

}  // namespace
}  // namespace omniconv::test
