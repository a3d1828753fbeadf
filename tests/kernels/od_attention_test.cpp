// ODConv's attention in one launch each way against plain loops.
#include "kernels/od_attention.h"

#include <array>
#include <optional>

#include "tests/device_array.h"
#include "tests/kernels/half_problem.h"
#include "tests/reference.h"

namespace omniconv::test {
namespace {

using kernels::head_count;
using reference::doubles;
using reference::Values;

struct AttentionCase {
  std::int64_t samples, channels, features;
  std::array<std::int64_t, head_count> widths;
  bool batch_statistics = true;
  bool accumulate = false;
  double offset = 0;  // of the trunk's values
};

std::ostream& operator<<(std::ostream& out, const AttentionCase& c) {
  return out << c.samples << " samples, " << c.channels << " channels, " << c.features << " features, heads "
             << c.widths[0] << ' ' << c.widths[1] << ' ' << c.widths[2] << ' ' << c.widths[3] << ", batch statistics "
             << c.batch_statistics << ", accumulate " << c.accumulate << ", offset " << c.offset;
}

/// One of the arrays, on the host and on the device.
template <class T>
struct Operand {
  std::vector<T> host;
  DeviceArray<T> device;

  explicit Operand(std::vector<T> values) : host(std::move(values)), device(host) {}
  Values values() const { return doubles(host); }
};

template <class T>
struct AttentionProblem {
  std::uint64_t seed = 1;  // of the next values; first, since the initialisers below draw
  AttentionCase c;
  kernels::OdAttentionShape shape;
  Operand<T> pool, trunk, gamma, beta, running_mean, running_var;
  std::vector<Operand<T>> weights, biases, d_logits;
  double temperature = 1.7;

  explicit AttentionProblem(const AttentionCase& which)
      : c(which),
        shape{.samples = c.samples,
              .channels = c.channels,
              .features = c.features,
              .batch_statistics = c.batch_statistics},
        pool(with_offset(random(c.samples * c.channels), c)),
        trunk(random(c.features * c.channels)),
        gamma(random(c.features)),
        beta(random(c.features)),
        running_mean(random(c.features)),
        running_var(random(c.features)) {
    for (T& variance : running_var.host) variance = std::abs(variance) + T(0.1);
    copy_to_device(running_var.device.data(), running_var.host.data(), running_var.host.size() * sizeof(T));
    for (int h = 0; h < head_count; ++h) {
      shape.widths[h] = c.widths[h];
      weights.emplace_back(random(c.widths[h] * c.features));
      biases.emplace_back(random(c.widths[h]));
      d_logits.emplace_back(random(c.samples * c.widths[h]));
    }
  }

 private:
  std::vector<T> random(std::int64_t count) { return uniform_values<T>(count, seed++); }
  static std::vector<T> with_offset(std::vector<T> values, const AttentionCase& c) {
    // All samples far from zero on the same side: the mean of the trunk is large, its variance is not.
    for (T& value : values) value += static_cast<T>(c.offset);
    return values;
  }
};

/// What a forward pass left behind.
template <class T>
struct ForwardResult {
  std::vector<T> trunk, hidden, mean, rstd, running_mean, running_var;
  std::int64_t batches;
  std::array<std::vector<T>, head_count> logits, attention;
};

template <class T>
ForwardResult<T> forward(const AttentionProblem<T>& p) {
  const AttentionCase& c = p.c;
  const DeviceArray<T> trunk(c.samples * c.features), hidden(c.samples * c.features), mean(c.features),
      rstd(c.features), running_mean(p.running_mean.host), running_var(p.running_var.host);
  const DeviceArray<double> temperature(1, p.temperature);
  const DeviceArray<std::int64_t> batches(1, 41);
  std::vector<DeviceArray<T>> logits, attention;
  kernels::OdAttentionForward<T> f{.pool = p.pool.device,
                                   .trunk_weight = p.trunk.device,
                                   .gamma = p.gamma.device,
                                   .beta = p.beta.device,
                                   .running_mean = running_mean,
                                   .running_var = running_var,
                                   .batches = batches,
                                   .momentum = 0.3,
                                   .heads = {},
                                   .temperature = temperature,
                                   .trunk = trunk,
                                   .hidden = hidden,
                                   .mean = mean,
                                   .rstd = rstd};
  for (int h = 0; h < head_count; ++h) {
    logits.emplace_back(c.samples * c.widths[h]);
    attention.emplace_back(c.samples * c.widths[h]);
    if (c.widths[h] > 0) f.heads[h] = {p.weights[h].device, p.biases[h].device, logits[h], attention[h]};
  }
  kernels::od_attention_forward(p.shape, f, main_stream());
  ForwardResult<T> result{trunk.to_host(),
                          hidden.to_host(),
                          mean.to_host(),
                          rstd.to_host(),
                          running_mean.to_host(),
                          running_var.to_host(),
                          batches.to_host()[0],
                          {},
                          {}};
  for (int h = 0; h < head_count; ++h) {
    result.logits[h] = logits[h].to_host();
    result.attention[h] = attention[h].to_host();
  }
  return result;
}

Values plus_bias(Values rows, const Values& bias) {
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] += bias[i % bias.size()];
  return rows;
}

template <class T>
void check_forward(const AttentionProblem<T>& p) {
  const AttentionCase& c = p.c;
  const ForwardResult<T> actual = forward(p);
  const Values trunk =
      reference::gemm(1, c.samples, c.features, c.channels, false, true, p.pool.values(), p.trunk.values());
  require_small_error<T>(actual.trunk, trunk, "trunk");
  // From here on of the values that T has: with a large mean the trunk's rounding is as large as what is left of it.
  const Values rounded = doubles(actual.trunk);
  const reference::BatchNorm norm = c.batch_statistics
                                        ? reference::BatchNorm(rounded, c.samples, c.features, p.shape.epsilon)
                                        : reference::BatchNorm(p.running_mean.values(), p.running_var.values(), rounded,
                                                               c.samples, c.features, p.shape.epsilon);
  require_small_error<T>(actual.mean, norm.mean, "mean");
  require_small_error<T>(actual.rstd, norm.rstd, "rstd");
  Values running_mean = p.running_mean.values(), running_var = p.running_var.values();
  if (c.batch_statistics) {
    const double unbiased = static_cast<double>(c.samples) / static_cast<double>(c.samples - 1);
    for (std::size_t f = 0; f < running_mean.size(); ++f) {
      running_mean[f] += 0.3 * (norm.mean[f] - running_mean[f]);
      running_var[f] += 0.3 * (norm.variance[f] * unbiased - running_var[f]);
    }
  }
  require_small_error<T>(actual.running_mean, running_mean, "running_mean");
  require_small_error<T>(actual.running_var, running_var, "running_var");
  CHECK(actual.batches == (c.batch_statistics ? 42 : 41));
  // T holds u - mean to the rounding of u.
  const double scale = 1 + std::abs(c.offset) * 100;
  const Tolerance table = Tolerance::rounding<T>(), tolerance{table.atol * scale, table.rtol * scale};
  require_close(actual.hidden, norm.apply(p.gamma.values(), p.beta.values(), {}, true), tolerance, "hidden");
  const Values hidden = doubles(actual.hidden);
  for (int h = 0; h < head_count; ++h) {
    const std::int64_t width = c.widths[h];
    if (width == 0) continue;
    const Values logits =
        plus_bias(reference::gemm(1, c.samples, width, c.features, false, true, hidden, p.weights[h].values()),
                  p.biases[h].values());
    require_small_error<T>(actual.logits[h], logits, concat("logits of head ", h));
    Values attention(logits.size());
    if (h == kernels::kernel_head)
      attention = reference::softmax(logits, width, p.temperature);
    else
      for (std::size_t i = 0; i < logits.size(); ++i) attention[i] = 1 / (1 + std::exp(-logits[i] / p.temperature));
    require_small_error<T>(actual.attention[h], attention, concat("attention of head ", h));
  }
}

/// Which of the gradients are asked for.
enum class Wanted { all, trunk_only, heads_only, one_head };

template <class T>
void check_backward(const AttentionProblem<T>& p, Wanted wanted) {
  const AttentionCase& c = p.c;
  const ForwardResult<T> kept = forward(p);
  std::uint64_t seed = 100;
  const auto before = [&](std::int64_t count) { return Operand<T>(uniform_values<T>(count, seed++)); };
  const Operand<T> trunk(kept.trunk), hidden(kept.hidden), mean(kept.mean), rstd(kept.rstd);
  const Operand<T> d_pool = before(c.samples * c.channels), d_trunk_weight = before(c.features * c.channels),
                   d_gamma = before(c.features), d_beta = before(c.features);
  const DeviceArray<T> d_hidden(c.samples * c.features);
  const bool of_trunk = wanted != Wanted::heads_only, of_heads = wanted != Wanted::trunk_only;
  const auto target = [&](bool is_wanted, const Operand<T>& operand) {
    return kernels::GradientTarget<T>{is_wanted ? operand.device.data() : nullptr, c.accumulate};
  };
  kernels::OdAttentionBackward<T> b{.pool = p.pool.device,
                                    .trunk_weight = p.trunk.device,
                                    .gamma = p.gamma.device,
                                    .trunk = trunk.device,
                                    .hidden = hidden.device,
                                    .mean = mean.device,
                                    .rstd = rstd.device,
                                    .heads = {},
                                    .d_pool = target(of_trunk, d_pool),
                                    .d_trunk_weight = target(of_trunk, d_trunk_weight),
                                    .d_gamma = target(of_trunk, d_gamma),
                                    .d_beta = target(of_trunk, d_beta),
                                    .d_hidden = d_hidden};
  std::vector<Operand<T>> d_weights, d_biases;
  const auto arrives = [&](int h) { return c.widths[h] > 0 && (wanted != Wanted::one_head || h == 1); };
  for (int h = 0; h < head_count; ++h) {
    d_weights.push_back(before(c.widths[h] * c.features));
    d_biases.push_back(before(c.widths[h]));
    if (arrives(h))
      b.heads[h] = {p.weights[h].device, p.d_logits[h].device, target(of_heads, d_weights[h]),
                    target(of_heads, d_biases[h])};
  }
  kernels::od_attention_backward(p.shape, b, main_stream());

  const auto check = [&](const Operand<T>& operand, bool is_wanted, Values gradient, const std::string& what) {
    if (is_wanted)
      require_small_error<T>(operand.device.to_host(), added(std::move(gradient), operand.values(), c.accumulate),
                             what);
    else
      CHECK(operand.device.to_host() == operand.host);
  };
  // With what the forward pass kept, for the sign of a value next to zero depends on rounding.
  const Values activations = doubles(kept.hidden);
  Values arriving(activations.size());
  for (int h = 0; h < head_count; ++h) {
    const Values d_logits = p.d_logits[h].values();
    const std::int64_t width = c.widths[h];
    if (!arrives(h)) {
      CHECK(d_weights[h].device.to_host() == d_weights[h].host);
      continue;
    }
    const Values part = reference::gemm(1, c.samples, c.features, width, false, false, d_logits, p.weights[h].values());
    for (std::size_t i = 0; i < part.size(); ++i) arriving[i] += part[i];
    check(d_weights[h], of_heads, reference::gemm(1, width, c.features, c.samples, true, false, d_logits, activations),
          concat("d_weight of head ", h));
    check(d_biases[h], of_heads, reference::column_sums(d_logits, 1, c.samples, width), concat("d_bias of head ", h));
  }
  const Values u = doubles(kept.trunk);
  const reference::BatchNorm norm = c.batch_statistics
                                        ? reference::BatchNorm(u, c.samples, c.features, p.shape.epsilon)
                                        : reference::BatchNorm(p.running_mean.values(), p.running_var.values(), u,
                                                               c.samples, c.features, p.shape.epsilon);
  const auto gradients = norm.backward(p.gamma.values(), activations, arriving, true, c.batch_statistics);
  check(d_gamma, of_trunk, gradients.gamma, "d_gamma");
  check(d_beta, of_trunk, gradients.beta, "d_beta");
  check(d_pool, of_trunk,
        reference::gemm(1, c.samples, c.channels, c.features, false, false, gradients.input, p.trunk.values()),
        "d_pool");
  check(d_trunk_weight, of_trunk,
        reference::gemm(1, c.features, c.channels, c.samples, true, false, gradients.input, p.pool.values()),
        "d_trunk_weight");
}

// Tiles are 2 samples by 8 features, 8 samples by 128 outputs, 4 samples by 32 features or 256 channels, and 256 rows.
const std::vector<AttentionCase> attention_cases = {
    {3, 3, 1, {3, 0, 0, 0}},
    {4, 64, 16, {64, 64, 9, 4}},
    {9, 70, 17, {70, 130, 25, 16}, true, true},
    {3, 300, 33, {300, 5, 0, 2}, false},
    {300, 33, 40, {33, 12, 9, 1}},
    {1, 20, 16, {20, 20, 9, 4}, false, true},
    {17, 16, 256, {16, 129, 1, 3}},
};

TEMPLATE_TEST_CASE("the attention in one launch equals plain loops", KERNEL_TAGS "[od_attention]", float, double) {
  const AttentionCase c = GENERATE(from_range(attention_cases));
  CAPTURE(c);
  const AttentionProblem<TestType> problem(c);
  in_shuffled_orders([&] { check_forward(problem); });
}

TEMPLATE_TEST_CASE("a large mean of the trunk costs no digits of its variance", KERNEL_TAGS "[od_attention]", float,
                   double) {
  check_forward(AttentionProblem<TestType>(
      {.samples = 64, .channels = 8, .features = 16, .widths = {8, 8, 9, 4}, .offset = 1000}));
}

TEMPLATE_TEST_CASE("the attention's gradients in one launch equal plain loops", KERNEL_TAGS "[od_attention]", float,
                   double) {
  const AttentionCase c = GENERATE(from_range(attention_cases));
  CAPTURE(c);
  const AttentionProblem<TestType> problem(c);
  in_shuffled_orders([&] { check_backward(problem, Wanted::all); });
}

TEST_CASE("gradients of the attention that nobody wants are not written", KERNEL_TAGS "[od_attention]") {
  const Wanted wanted = GENERATE(Wanted::trunk_only, Wanted::heads_only, Wanted::one_head);
  CAPTURE(static_cast<int>(wanted));
  check_backward(AttentionProblem<double>({.samples = 5, .channels = 40, .features = 16, .widths = {40, 8, 9, 4}}),
                 wanted);
}

TEST_CASE("the attention in one launch refuses what does not fit", "[kernels][od_attention]") {
  const auto error_of = [](const kernels::OdAttentionShape& shape) {
    CHECK_THROWS_AS(kernels::od_attention_backward<float>(shape, {}, main_stream()), Error);
    try {
      kernels::od_attention_forward<float>(shape, {}, main_stream());
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(error_of({.samples = 1, .channels = 4, .features = 16}) == "[od_attention] expected at least 2 samples, got 1");
  CHECK(error_of({.samples = 0, .channels = 4, .features = 16, .batch_statistics = false}) ==
        "[od_attention] expected at least 1 samples, got 0");
  CHECK(error_of({.samples = 2, .channels = 4, .features = 257}) ==
        "[od_attention] expected 1 to 256 features of the trunk, got 257");
  CHECK(error_of({.samples = 2, .channels = 4, .features = 16, .widths = {4, 4, 9, 129}}) ==
        "[od_attention] expected at most 128 kernels, got 129");
}

}  // namespace
}  // namespace omniconv::test
