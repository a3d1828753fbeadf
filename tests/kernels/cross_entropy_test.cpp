#include "kernels/cross_entropy.h"

#include "tests/device_array.h"
#include "tests/gradient_check.h"
#include "tests/reference.h"

namespace omniconv::test {
namespace {

using kernels::ClassificationTotals;
using kernels::Targets;
using reference::doubles;

std::vector<std::int32_t> some_labels(std::int64_t samples, std::int64_t classes) {
  std::vector<std::int32_t> labels;
  for (std::int64_t n = 0; n < samples; ++n) labels.push_back(static_cast<std::int32_t>(n * 7 % classes));
  return labels;
}

template <class T>
T loss_of(const std::vector<T>& logits, const std::vector<std::int32_t>& labels,
          ClassificationTotals* totals = nullptr) {
  const auto samples = static_cast<std::int64_t>(labels.size());
  const DeviceArray<T> device_logits(logits), loss(1), scratch(samples);
  const DeviceArray<std::int32_t> device_labels(labels);
  kernels::cross_entropy_forward<T>(device_logits, Targets{device_labels}, loss, scratch, totals, samples,
                                    static_cast<std::int64_t>(logits.size()) / samples, main_stream());
  return loss.to_host()[0];
}

template <class T>
std::vector<T> gradient_of(const std::vector<T>& logits, const std::vector<std::int32_t>& labels, T d_loss,
                           const std::vector<T>& before, bool accumulate) {
  const auto samples = static_cast<std::int64_t>(labels.size());
  const DeviceArray<T> device_logits(logits), device_d_loss(1, d_loss), d_logits(before);
  const DeviceArray<std::int32_t> device_labels(labels);
  kernels::cross_entropy_backward<T>(device_logits, Targets{device_labels}, device_d_loss, d_logits, samples,
                                     static_cast<std::int64_t>(logits.size()) / samples, accumulate, main_stream());
  return d_logits.to_host();
}

TEMPLATE_TEST_CASE("loss, totals and gradient equal plain loops", KERNEL_TAGS, float, double) {
  using T = TestType;
  const auto [samples, classes] =
      GENERATE(table<std::int64_t, std::int64_t>({{1, 1}, {1, 10}, {128, 10}, {33, 7}, {3, 1000}, {500, 2}}));
  const bool accumulate = GENERATE(false, true);
  CAPTURE(samples, classes, accumulate);
  const auto logits = uniform_values<T>(samples * classes, 1, 4), before = uniform_values<T>(samples * classes, 2);
  const auto labels = some_labels(samples, classes);
  const auto probability = reference::softmax(doubles(logits), classes);
  double loss_sum = 0, correct = 0;
  const double d_loss = 1.7;
  Vector expected(probability.size());
  for (std::int64_t n = 0; n < samples; ++n) {
    const auto begin = probability.begin() + n * classes;
    loss_sum -= std::log(begin[labels[n]]);
    correct += std::max_element(begin, begin + classes) - begin == labels[n];
    for (std::int64_t c = 0; c < classes; ++c)
      expected[n * classes + c] =
          d_loss / samples * (begin[c] - (c == labels[n])) + (accumulate ? double{before[n * classes + c]} : 0);
  }
  const DeviceArray<ClassificationTotals> totals(1, {100, 3, 7});
  const auto count = static_cast<double>(samples);
  const auto tolerance = Tolerance::rounding<T>();
  require_close(std::vector{loss_of(logits, labels, totals.data())}, Vector{loss_sum / count}, tolerance);
  const ClassificationTotals grown = totals.to_host()[0];
  require_close(Vector{grown.loss_sum - 100}, Vector{loss_sum}, {tolerance.atol * count, tolerance.rtol});
  CHECK(grown.correct == 3 + correct);
  CHECK(grown.count == 7 + count);
  require_close(gradient_of(logits, labels, static_cast<T>(d_loss), before, accumulate), expected, tolerance);
}

TEST_CASE("the prediction is the first largest logit", KERNEL_TAGS) {
  const auto correct = [](const std::vector<float>& logits, std::int32_t label) {
    const DeviceArray<ClassificationTotals> totals(1);
    loss_of(logits, {label}, totals.data());
    return totals.to_host()[0].correct;
  };
  CHECK(correct({1, 2, 2}, 1) == 1);
  CHECK(correct({1, 2, 2}, 2) == 0);
  CHECK(correct({5, 5, 5}, 0) == 1);
  CHECK(correct({5, 5, 5}, 1) == 0);
  CHECK(correct({-100, 100, -100}, 1) == 1);  // a loss of exactly 0
  CHECK(correct({1}, 0) == 1);
}

TEMPLATE_TEST_CASE("the loss is finite for large logits", KERNEL_TAGS, float, double) {
  using T = TestType;
  CHECK(loss_of<T>({T(1e30), T(-1e30)}, {0}) == 0);
  CHECK(loss_of<T>({T(1e4), T(-1e4)}, {1}) == T(2e4));
  const auto gradient = gradient_of<T>({T(1e30), T(-1e30)}, {1}, 1, {0, 0}, false);
  CHECK(gradient == std::vector<T>{1, -1});
}

TEST_CASE("a label that is no class or a logit that is no number makes the loss NaN", KERNEL_TAGS) {
  CHECK(std::isnan(loss_of<float>({1, 2, 3, 4}, {0, 2})));
  CHECK(std::isnan(loss_of<float>({1, 2, 3, 4}, {-1, 1})));
  CHECK(std::isnan(loss_of<float>({NAN, 2, 3, 4}, {1, 1})));
  CHECK(std::isnan(loss_of<float>({1, 2, 3, NAN}, {1, 0})));
}

TEST_CASE("gradient of the cross-entropy equals central differences", KERNEL_TAGS) {
  const std::int64_t samples = 4, classes = 5;
  const auto labels = some_labels(samples, classes);
  check_gradient(
      "cross-entropy", [&](const Vector& logits) { return Vector{loss_of(logits, labels)}; },
      [&](const Vector& logits, const Vector& cotangent) {
        return gradient_of(logits, labels, cotangent[0], logits, false);
      },
      uniform_values(samples * classes, 1, 2));
}

TEMPLATE_TEST_CASE("soft targets: smoothing, two labels and a part of a batch equal plain loops", KERNEL_TAGS, float,
                   double) {
  using T = TestType;
  const std::int64_t samples = 9, classes = 6;
  const double smoothing = GENERATE(0.0, 0.1), share = GENERATE(1.0, 0.7, 0.3, 0.0);
  const std::int64_t mean_over = GENERATE(0, 20);
  CAPTURE(smoothing, share, mean_over);
  const auto logits = uniform_values<T>(samples * classes, 1, 4);
  const auto labels = some_labels(samples, classes);
  std::vector<std::int32_t> others(labels.rbegin(), labels.rend());
  const auto probability = reference::softmax(doubles(logits), classes);
  const double divisor = static_cast<double>(mean_over == 0 ? samples : mean_over), d_loss = 1.7;
  double loss_sum = 0, correct = 0;
  Vector expected;
  for (std::int64_t n = 0; n < samples; ++n) {
    const double* p = probability.data() + n * classes;
    correct += std::max_element(p, p + classes) - p == (share >= 0.5 ? labels[n] : others[n]);
    for (std::int64_t c = 0; c < classes; ++c) {
      const double q = (1 - smoothing) * (share * (c == labels[n]) + (1 - share) * (c == others[n])) +
                       smoothing / static_cast<double>(classes);
      loss_sum -= q * std::log(p[c]);
      expected.push_back(d_loss / divisor * (p[c] - q));
    }
  }
  const DeviceArray<T> device_logits(logits), loss(1), scratch(samples), d(1, static_cast<T>(d_loss)),
      d_logits(samples * classes);
  const DeviceArray<std::int32_t> device_labels(labels), device_others(others);
  const DeviceArray<double> device_share(1, share);
  const DeviceArray<ClassificationTotals> totals(1);
  const Targets targets{device_labels, device_others, device_share, smoothing, mean_over};
  kernels::cross_entropy_forward<T>(device_logits, targets, loss, scratch, totals, samples, classes, main_stream());
  kernels::cross_entropy_backward<T>(device_logits, targets, d, d_logits, samples, classes, false, main_stream());
  const auto tolerance = Tolerance::rounding<T>();
  require_close(loss.to_host(), Vector{loss_sum / divisor}, tolerance);
  require_close(d_logits.to_host(), expected, tolerance);
  CHECK(totals.to_host()[0].correct == correct);
  CHECK(totals.to_host()[0].count == samples);
}

TEST_CASE("the cross-entropy refuses logits without samples or classes", "[kernels]") {
  CHECK_THROWS_WITH(kernels::cross_entropy_forward<float>(nullptr, {}, nullptr, nullptr, nullptr, 0, 10, main_stream()),
                    "[cross_entropy] expected at least 1 sample and 1 class, got logits [0, 10]");
  CHECK_THROWS_AS(kernels::cross_entropy_backward<float>(nullptr, {}, nullptr, nullptr, 2, 0, false, main_stream()),
                  Error);
}

}  // namespace
}  // namespace omniconv::test
