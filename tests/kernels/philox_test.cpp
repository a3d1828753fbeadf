#include "kernels/philox.h"

#include <array>
#include <set>

#include "tests/catch.h"

namespace omniconv::test {
namespace {

using Words = std::array<std::uint32_t, 4>;

Words words_of(const PhiloxWords& words) { return {words.word[0], words.word[1], words.word[2], words.word[3]}; }

TEST_CASE("Philox gives the known answers of Random123") {
  constexpr std::uint32_t ones = 0xffffffffu;
  CHECK(words_of(philox4x32({{0, 0, 0, 0}}, 0, 0)) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(words_of(philox4x32({{ones, ones, ones, ones}}, ones, ones)) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(words_of(philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0)) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("seed, stream and index are told apart in all their bits") {
  // Index and stream are the counter, low word first; the seed is the key.
  CHECK(words_of(Philox(0x299f31d0a4093822, 0x0370734413198a2e).words(0x85a308d3243f6a88)) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  std::set<Words> all;
  for (int bit = 0; bit < 64; ++bit) {
    all.insert(words_of(Philox(std::uint64_t{1} << bit, 0).words(0)));
    all.insert(words_of(Philox(0, std::uint64_t{1} << bit).words(0)));
    all.insert(words_of(Philox(0, 0).words(std::uint64_t{1} << bit)));
  }
  CHECK(all.size() == 3 * 64);
}

TEST_CASE("uniform numbers lie in [0, 1) and are uniform") {
  const Philox random(7, 3);
  constexpr int count = 100000;
  for (bool second : {false, true}) {
    double sum = 0, squares = 0;
    for (int i = 0; i < count; ++i) {
      const double u = random.uniform(i, second);
      REQUIRE((u >= 0 && u < 1));
      sum += u;
      squares += u * u;
    }
    CHECK(std::abs(sum / count - 1.0 / 2) < 0.005);  // five deviations
    CHECK(std::abs(squares / count - 1.0 / 3) < 0.005);
  }
}

TEST_CASE("normal numbers have the moments and the tails of a normal distribution") {
  const Philox random(7, 3);
  constexpr int count = 100000;
  double moments[5] = {};
  int beyond_two = 0;
  double product_of_neighbours = 0;
  for (int i = 0; i < count; ++i) {
    const double x = random.normal(i);
    REQUIRE(std::isfinite(x));
    for (int m = 1; m <= 4; ++m) moments[m] += std::pow(x, m) / count;
    beyond_two += std::abs(x) > 2;
    product_of_neighbours += x * random.normal(i + 1) / count;
  }
  CHECK(std::abs(moments[1]) < 0.016);
  CHECK(std::abs(moments[2] - 1) < 0.023);
  CHECK(std::abs(moments[3]) < 0.065);
  CHECK(std::abs(moments[4] - 3) < 0.16);
  CHECK(std::abs(beyond_two / double{count} - 0.0455) < 0.0033);
  CHECK(std::abs(product_of_neighbours) < 0.016);
}

}  // namespace
}  // namespace omniconv::test
