// The comparison itself: what it lets pass, and that each kind of difference is found and named.
#include "tests/pytorch/comparison.h"

#include "tests/pytorch/results.h"

namespace omniconv::pytorch {
namespace {

using test::Approx;
using test::ContainsSubstring;

constexpr Bars bars{1e-5, 1e-4};
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

Results tensor(const std::string& key, const std::vector<double>& values) {
  return {{key, make_host_tensor(values, {static_cast<std::int64_t>(values.size())})}};
}

/// The one mismatch between two sets of results, or "".
std::string mismatch(const Results& actual, const Results& expected, Form form = Form::tensors) {
  const Findings findings = compare("case07", actual, expected, bars, form);
  REQUIRE(findings.mismatches.size() <= 1);
  return findings.mismatches.empty() ? "" : findings.mismatches.front();
}

TEST_CASE("differences are measured against the largest magnitude", "[pytorch]") {
  const Results expected = tensor("value/output", {0, -2, 1e-9});
  CHECK(mismatch(expected, expected).empty());
  CHECK(mismatch(tensor("value/output", {1.9e-5, -2, 1e-9}), expected).empty());
  CHECK_THAT(mismatch(tensor("value/output", {0, -2, 2.5e-5}), expected),
             ContainsSubstring("case07: value/output differs most at 2: got 2.5") &&
                 ContainsSubstring("1.0000000000000001e-09"));
  const Results gradient = tensor("grad/input", {0, -2});
  CHECK(mismatch(tensor("grad/input", {1.9e-4, -2}), gradient).empty());
  CHECK_THAT(mismatch(tensor("grad/input", {2.1e-4, -2}), gradient), ContainsSubstring("grad/input differs most at 0"));
}

TEST_CASE("what is expected to be zero has to be zero", "[pytorch]") {
  CHECK(mismatch(tensor("value/output", {0, -0.0}), tensor("value/output", {0, 0})).empty());
  CHECK_FALSE(mismatch(tensor("value/output", {0, 1e-300}), tensor("value/output", {0, 0})).empty());
}

TEST_CASE("NaN and infinity never agree with anything", "[pytorch]") {
  const double number = GENERATE(0.0, 1.0, nan, infinity);
  CHECK_FALSE(mismatch(tensor("value/output", {1, nan}), tensor("value/output", {1, number})).empty());
  CHECK_FALSE(mismatch(tensor("value/output", {1, number}), tensor("value/output", {1, nan})).empty());
  CHECK_FALSE(mismatch(tensor("value/output", {1, number}), tensor("value/output", {1, infinity})).empty());
  CHECK_FALSE(mismatch(tensor("value/output", {1, infinity}), tensor("value/output", {1, number})).empty());
}

TEST_CASE("a tensor that either side lacks, or of another shape or type, is a mismatch", "[pytorch]") {
  const Results one = tensor("grad/weight", {1, 2});
  CHECK(mismatch({}, one) == "case07: grad/weight is missing");
  CHECK(mismatch(one, {}) == "case07: grad/weight is unknown to PyTorch");
  CHECK(mismatch({{"grad/weight", make_host_tensor(std::vector<double>{1, 2}, {2, 1})}}, one) ==
        "case07: grad/weight is f64 [2, 1], expected f64 [2]");
  CHECK(mismatch({{"grad/weight", make_host_tensor(std::vector<float>{1, 2}, {2})}}, one) ==
        "case07: grad/weight is f32 [2], expected f64 [2]");
  const Results count{{"state/bn.num_batches_tracked", make_host_tensor(std::vector<std::int64_t>{1}, {})}};
  CHECK(mismatch(count, count).empty());
  CHECK(mismatch({{"state/bn.num_batches_tracked", make_host_tensor(std::vector<std::int64_t>{2}, {})}}, count) ==
        "case07: state/bn.num_batches_tracked is [2], expected [1]");
}

TEST_CASE("in summaries the norm does not cover for the samples, nor one row for another", "[pytorch]") {
  constexpr std::size_t row = 1 + summary_samples;
  std::vector<double> numbers(2 * row, 1e-3);
  numbers[0] = numbers[row] = 1000;
  numbers[5] = 1;
  const Results expected = tensor("weight/fc.weight", numbers);
  const auto moved = [&](std::size_t index, double by) {
    auto other = numbers;
    other[index] += by;
    return mismatch(tensor("weight/fc.weight", other), expected, Form::summaries);
  };
  CHECK(moved(row, 9e-3).empty());
  CHECK_THAT(moved(row, 1.1e-2), ContainsSubstring("at 17"));
  CHECK(moved(3, 9e-6).empty());
  CHECK_THAT(moved(3, 1.1e-5), ContainsSubstring("at 3"));
  CHECK_THAT(moved(row + 3, 1.1e-8), ContainsSubstring("at 20"));
  CHECK_THAT(moved(row - 1, nan), ContainsSubstring("got nan"));
}

TEST_CASE("a summary is the norm and the sampled elements", "[pytorch]") {
  std::vector<double> values(2304);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
  const std::vector<double> numbers = summary("layer1.0.conv1.weight", values);
  REQUIRE(numbers.size() == 1 + summary_samples);
  CHECK(numbers[0] == Approx(std::sqrt(2303.0 * 2304.0 * 4607.0 / 6.0)));
  CHECK(numbers[1] == 127);
  CHECK(numbers[16] == 2267);
}

TEST_CASE("activations are handed over in PyTorch's layout", "[pytorch]") {
  const Tensor activations = Tensor::from_host(std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}, {1, 2, 2, 2});
  CHECK(nchw(activations) == make_host_tensor(std::vector<float>{0, 2, 4, 6, 1, 3, 5, 7}, {1, 2, 2, 2}));
}

}  // namespace
}  // namespace omniconv::pytorch
