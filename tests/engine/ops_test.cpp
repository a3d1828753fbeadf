// Gradients of every differentiable operation against central differences in f64.
#include "engine/ops/functions.h"

#include "tests/autograd_check.h"

namespace omniconv {
namespace {

using test::check_gradients;
using test::ContainsSubstring;
using test::NamedVariable;
using test::uniform_tensor;

Variable variable(Shape shape, std::uint64_t seed, double scale = 1) {
  return Variable(uniform_tensor<double>(std::move(shape), seed, scale), true);
}

Tensor temperature_of(double value) {
  return Tensor::from_host(std::vector<double>{value});
}

/// Batch-norm parameters and running statistics of `channels`.
struct Norm {
  Variable gamma, beta;
  Tensor running_mean, running_var;

  explicit Norm(std::int64_t channels)
      : gamma(variable({channels}, 1)),
        beta(variable({channels}, 2)),
        running_mean(uniform_tensor<double>({channels}, 3)),
        running_var(Tensor::from_host(std::vector<double>(static_cast<std::size_t>(channels), 1.3))) {}
};

TEST_CASE("gradient of global average pool", "[ops]") {
  const Variable input = variable({2, 3, 5, 4}, 1);
  check_gradients([&](Tape& tape) { return ops::global_average_pool(tape, input); }, {{"input", input}}, 1000);
}

TEST_CASE("gradient of max-pool", "[ops]") {
  const Variable input = variable({2, 7, 6, 3}, 1);
  check_gradients([&](Tape& tape) { return ops::max_pool(tape, {}, input); }, {{"input", input}}, 1000);
  check_gradients([&](Tape& tape) { return ops::max_pool(tape, {2, 1, 0}, input); }, {{"input", input}}, 1000);
}

TEST_CASE("gradient of dropout", "[ops]") {
  const Variable input = variable({5, 9}, 1);
  const Tensor step = Tensor::from_host(std::vector<std::int64_t>{3});
  check_gradients([&](Tape& tape) { return ops::dropout(tape, 0.3, 1, step, input); }, {{"input", input}}, 1000);
}

TEST_CASE("gradient of linear", "[ops]") {
  const Variable input = variable({5, 7}, 1), weight = variable({3, 7}, 2), bias = variable({3}, 3);
  check_gradients([&](Tape& tape) { return ops::linear(tape, input, weight, bias); },
                  {{"input", input}, {"weight", weight}, {"bias", bias}}, 1000);
  check_gradients([&](Tape& tape) { return ops::linear(tape, input, weight, {}); },
                  {{"input", input}, {"weight", weight}}, 1000);
}

TEST_CASE("gradient of conv2d", "[ops]") {
  const auto [params, in, out, kernel] = GENERATE(table<Conv2dParams, int, int, int>({
      {{1, 1, 1, 1}, 3, 4, 3},
      {{2, 1, 1, 1}, 3, 4, 3},
      {{2, 0, 1, 1}, 4, 3, 1},
      {{1, 2, 2, 2}, 4, 6, 3},
      {{1, 2, 1, 4}, 4, 4, 5},
  }));
  const Variable input = variable({2, 6, 5, in}, 1);
  const Variable weight = variable({out, kernel, kernel, in / params.groups}, 2);
  check_gradients([&, p = params](Tape& tape) { return ops::conv2d(tape, p, input, weight); },
                  {{"input", input}, {"weight", weight}}, 1000);
}

TEST_CASE("gradient of batch norm", "[ops]") {
  const bool batch_statistics = GENERATE(true, false);
  const bool relu = GENERATE(false, true);
  const bool add = GENERATE(false, true);
  INFO("batch statistics " << batch_statistics << ", relu " << relu << ", residual " << add);
  // The differences are taken on both sides of an element; with this seed nothing lies within a step of ReLU's kink.
  const Variable input = variable({3, 2, 3, 5}, 11), residual = variable({3, 2, 3, 5}, 12);
  const Norm norm(5);
  ops::BatchNormMode mode;
  mode.batch_statistics = batch_statistics;
  mode.relu = relu;
  std::vector<NamedVariable> inputs{{"input", input}, {"gamma", norm.gamma}, {"beta", norm.beta}};
  if (add) inputs.push_back({"residual", residual});
  check_gradients(
      [&](Tape& tape) {
        return ops::batch_norm(tape, mode, input, add ? residual : Variable(), norm.gamma, norm.beta, norm.running_mean,
                               norm.running_var);
      },
      inputs, 1000);
}

TEST_CASE("gradient of a variable that is input and residual of one operation", "[ops]") {
  // As above, nothing lies within a step of ReLU's kink.
  const Variable input = variable({3, 2, 3, 5}, 11), bias = variable({5}, 13);
  const Norm norm(5);
  check_gradients(
      [&](Tape& tape) {
        return ops::batch_norm(tape, {.relu = true}, input, input, norm.gamma, norm.beta, norm.running_mean,
                               norm.running_var);
      },
      {{"input", input}, {"gamma", norm.gamma}, {"beta", norm.beta}}, 1000);
  check_gradients([&](Tape& tape) { return ops::add_bias(tape, input, bias, true, input); },
                  {{"input", input}, {"bias", bias}}, 1000);
}

TEST_CASE("gradient of batch norm with a pool that steers the convolution behind it", "[ops]") {
  // As above, nothing lies within a step of ReLU's kink.
  const Variable input = variable({3, 2, 3, 5}, 11), residual = variable({3, 2, 3, 5}, 12);
  const Variable weight = variable({1, 4, 1, 1, 5}, 13);
  const Norm norm(5);
  const Tensor temperature = Tensor::from_host(std::vector<double>{0.3});
  check_gradients(
      [&](Tape& tape) {
        const Variable normed = ops::batch_norm(tape, {.relu = true, .pool = true}, input, residual, norm.gamma,
                                                norm.beta, norm.running_mean, norm.running_var);
        const Variable channel = ops::global_average_pool(tape, normed);
        return ops::od_conv2d(tape, {}, normed, weight, {.channel = channel, .filter = {}, .spatial = {}, .kernel = {}},
                              temperature);
      },
      {{"input", input}, {"residual", residual}, {"gamma", norm.gamma}, {"beta", norm.beta}, {"weight", weight}}, 1000);
}

TEST_CASE("gradient of add_bias", "[ops]") {
  const bool relu = GENERATE(false, true);
  const bool add = GENERATE(false, true);
  INFO("relu " << relu << ", residual " << add);
  // As for batch norm, nothing lies within a step of ReLU's kink.
  const Variable input = variable({3, 2, 3, 5}, 11), residual = variable({3, 2, 3, 5}, 12), bias = variable({5}, 13);
  std::vector<NamedVariable> inputs{{"input", input}, {"bias", bias}};
  if (add) inputs.push_back({"residual", residual});
  check_gradients([&](Tape& tape) { return ops::add_bias(tape, input, bias, relu, add ? residual : Variable()); },
                  inputs, 1000);
}

TEST_CASE("add_bias refuses what does not fit", "[ops]") {
  Tape tape;
  const Variable input = variable({2, 3, 5}, 1);
  CHECK_THROWS_WITH(ops::add_bias(tape, input, variable({4}, 2), true),
                    ContainsSubstring("[add_bias] expected a bias of shape [5], got [4]"));
  CHECK_THROWS_WITH(ops::add_bias(tape, input, variable({5}, 2), true, variable({2, 3, 4}, 3)),
                    ContainsSubstring("expected a residual of shape [2, 3, 5], got [2, 3, 4]"));
}

TEST_CASE("batch norm moves the running statistics as PyTorch does", "[ops]") {
  // Rows 1, 2, 6 have mean 3 and unbiased variance 7.
  const Variable input(Tensor::from_host(std::vector<double>{1, 2, 6}, {3, 1}));
  const Tensor running_mean = Tensor::from_host(std::vector<double>{1}),
               running_var = Tensor::from_host(std::vector<double>{2});
  const Variable gamma(Tensor::from_host(std::vector<double>{1})), beta(Tensor::from_host(std::vector<double>{0}));
  const Tensor batches = Tensor::from_host(std::vector<std::int64_t>{41});
  Tape tape(false);
  ops::batch_norm(tape, {.batches_tracked = batches}, input, {}, gamma, beta, running_mean, running_var);
  CHECK(batches.to_host<std::int64_t>() == std::vector<std::int64_t>{42});
  test::require_close(running_mean.to_doubles(), std::vector<double>{0.9 * 1 + 0.1 * 3},
                      test::Tolerance::rounding<double>());
  test::require_close(running_var.to_doubles(), std::vector<double>{0.9 * 2 + 0.1 * 7},
                      test::Tolerance::rounding<double>());
  ops::batch_norm(tape, {.batch_statistics = false, .batches_tracked = batches}, input, {}, gamma, beta, running_mean,
                  running_var);
  CHECK(batches.to_host<std::int64_t>() == std::vector<std::int64_t>{42});
}

TEST_CASE("batch norm counts a batch once, however many channels and rows it has", "[ops]") {
  const Variable input = variable({3, 5, 7, 70}, 11), gamma = variable({70}, 12), beta = variable({70}, 13);
  const Tensor mean = Tensor::zeros({70}, DType::f64), var = Tensor::zeros({70}, DType::f64);
  const Tensor batches = Tensor::zeros({1}, DType::i64);
  Tape tape(false);
  for (int i = 0; i < 2; ++i) ops::batch_norm(tape, {.batches_tracked = batches}, input, {}, gamma, beta, mean, var);
  CHECK(batches.to_host<std::int64_t>() == std::vector<std::int64_t>{2});
}

TEST_CASE("gradient of layer norm", "[ops]") {
  const bool relu = GENERATE(false, true);
  const Variable input = variable({4, 7}, 11), gamma = variable({7}, 12), beta = variable({7}, 13);
  check_gradients([&](Tape& tape) { return ops::layer_norm(tape, 1e-5, relu, input, gamma, beta); },
                  {{"input", input}, {"gamma", gamma}, {"beta", beta}}, 1000);
}

TEST_CASE("gradient of cross-entropy", "[ops]") {
  const Variable logits = variable({6, 5}, 1, 3);
  const Tensor labels = Tensor::from_host(std::vector<std::int32_t>{0, 4, 2, 2, 1, 3});
  check_gradients([&](Tape& tape) { return ops::cross_entropy(tape, logits, labels, nullptr); }, {{"logits", logits}},
                  1000);
  const ops::LossOptions soft{0.1, Tensor::from_host(std::vector<std::int32_t>{3, 1, 2, 2, 4, 0}),
                              Tensor::from_host(std::vector<double>{0.6}), 11};
  check_gradients([&](Tape& tape) { return ops::cross_entropy(tape, logits, labels, nullptr, soft); },
                  {{"logits", logits}}, 1000);
}

struct DynamicCase {
  Conv2dParams params;
  std::int64_t in, out, kernel_size, kernels;
  double temperature;
};

TEST_CASE("gradient of od_conv2d, every input and attention branch", "[ops]") {
  const DynamicCase c = GENERATE(values<DynamicCase>({
      {{1, 1, 1, 1}, 3, 4, 3, 4, 1},
      {{2, 1, 1, 1}, 3, 5, 3, 2, 0.5},
      {{1, 2, 2, 2}, 4, 6, 3, 3, 30},
      {{1, 1, 1, 4}, 4, 4, 3, 2, 1},  // depth-wise: no filter attention
      {{2, 0, 1, 1}, 4, 3, 1, 1, 1},  // 1x1, K = 1: channel and filter only
      {{1, 2, 1, 1}, 2, 3, 5, 1, 2},
  }));
  const std::int64_t samples = 2, taps = c.kernel_size * c.kernel_size;
  INFO("in " << c.in << ", out " << c.out << ", kernel " << c.kernel_size << ", K " << c.kernels << ", stride "
             << c.params.stride << ", groups " << c.params.groups << ", T " << c.temperature);
  const Variable input = variable({samples, 6, 5, c.in}, 1);
  const Variable weight = variable({c.kernels, c.out, c.kernel_size, c.kernel_size, c.in / c.params.groups}, 2);
  ops::AttentionLogits logits;
  logits.channel = variable({samples, c.in}, 3, 2);
  std::vector<NamedVariable> inputs{{"input", input}, {"weight", weight}, {"channel logits", logits.channel}};
  if (c.params.groups != c.in) {
    logits.filter = variable({samples, c.out}, 4, 2);
    inputs.push_back({"filter logits", logits.filter});
  }
  if (taps > 1) {
    logits.spatial = variable({samples, taps}, 5, 2);
    inputs.push_back({"spatial logits", logits.spatial});
  }
  if (c.kernels > 1) {
    logits.kernel = variable({samples, c.kernels}, 6, 2);
    inputs.push_back({"kernel logits", logits.kernel});
  }
  const Tensor temperature = temperature_of(c.temperature);
  check_gradients([&](Tape& tape) { return ops::od_conv2d(tape, c.params, input, weight, logits, temperature); },
                  inputs, 40);
}

TEST_CASE("attention near zero does not break its gradient", "[ops]") {
  // sigmoid(-60) is about 1e-26: a gradient formed as R / f would be noise or NaN.
  const Variable input = variable({2, 4, 4, 3}, 1), weight = variable({1, 4, 3, 3, 3}, 2);
  ops::AttentionLogits logits;
  logits.channel = Variable(Tensor::from_host(std::vector<double>(6, -60), {2, 3}), true);
  logits.filter = Variable(Tensor::from_host(std::vector<double>(8, -800), {2, 4}), true);
  const Tensor temperature = temperature_of(1);
  Tape tape;
  const Variable output = ops::od_conv2d(tape, {1, 1, 1, 1}, input, weight, logits, temperature);
  tape.backward(output, uniform_tensor<double>(output.shape(), 3));
  for (const Variable& branch : {logits.channel, logits.filter})
    for (double value : branch.grad().to_doubles()) CHECK(std::abs(value) < 1e-20);
}

// One variable used twice: the second gradient adds to the first.
TEST_CASE("gradients accumulate where a variable is used twice", "[autograd]") {
  const Variable input = variable({4, 3}, 1), weight = variable({3, 3}, 2);
  check_gradients(
      [&](Tape& tape) {
        const Variable once = ops::linear(tape, input, weight, {});
        return ops::linear(tape, once, weight, {});
      },
      {{"input", input}, {"weight", weight}}, 1000);
}

/// What doubles and triples its input, as an operation of three outputs, one of which there never is.
std::vector<Variable> double_and_triple(Tape& tape, const Variable& input) {
  const auto times = [](const Tensor& tensor, double factor) {
    std::vector<double> values = tensor.to_doubles();
    for (double& value : values) value *= factor;
    return Tensor::from_host(values, tensor.shape());
  };
  return tape.record("double_and_triple", {times(input.value(), 2), Tensor(), times(input.value(), 3)},
                     [=](const std::vector<Tensor>& d_outputs) {
                       REQUIRE(d_outputs.size() == 3);
                       CHECK_FALSE(d_outputs[1].defined());
                       std::vector<double> sum(static_cast<std::size_t>(input.value().count()));
                       for (const std::size_t i : {0, 2})
                         if (d_outputs[i].defined())
                           for (std::size_t j = 0; j < sum.size(); ++j)
                             sum[j] += (i == 0 ? 2 : 3) * d_outputs[i].to_doubles()[j];
                       const Gradient d_input = input.gradient();
                       CHECK_FALSE(d_input.accumulate());
                       d_input.tensor.copy_from(Tensor::from_host(sum, input.shape()));
                     });
}

TEST_CASE("an operation has several outputs, of which any may be read", "[autograd]") {
  const Variable input = variable({4, 3}, 1), weight = variable({3, 3}, 2);
  const int read = GENERATE(0, 2, 3);
  CAPTURE(read);
  check_gradients(
      [&](Tape& tape) {
        const auto outputs = double_and_triple(tape, input);
        CHECK_FALSE(outputs[1].defined());
        if (read != 3) return ops::linear(tape, outputs[static_cast<std::size_t>(read)], weight, {});
        return ops::linear(tape, outputs[0], outputs[2], {});
      },
      {{"input", input}}, 1000);
}

TEST_CASE("the first operation with an infinite output is found in any of its outputs", "[autograd]") {
  const Variable input(Tensor::from_host(std::vector<double>{1, 0.7e308}, {1, 2}), true);
  Tape tape;
  tape.enter("here.");
  double_and_triple(tape, input);
  CHECK(tape.first_not_finite() == "here (double_and_triple)");
}

TEST_CASE("a tape that does not record keeps nothing", "[autograd]") {
  const Variable input = variable({4, 3}, 1), weight = variable({3, 3}, 2);
  Tape tape(false);
  const Variable output = ops::linear(tape, input, weight, {});
  CHECK_FALSE(output.requires_grad());
  CHECK_THROWS_WITH(tape.backward(output, uniform_tensor<double>({4, 3}, 3)), ContainsSubstring("[backward] expected"));
}

TEST_CASE("parameters that no operation reached get a zero gradient", "[autograd]") {
  const Variable unused = Variable::declare(true);
  unused.bind(uniform_tensor<double>({3}, 1), uniform_tensor<double>({3}, 2));
  unused.begin_gradient();
  CHECK_FALSE(unused.grad().defined());
  unused.finish_gradient();
  CHECK(unused.grad().to_doubles() == std::vector<double>{0, 0, 0});
}

TEST_CASE("operations refuse what does not fit", "[ops]") {
  Tape tape;
  const Variable image = variable({2, 4, 4, 3}, 1);
  CHECK_THROWS_WITH(ops::conv2d(tape, {}, image, variable({4, 3, 3, 5}, 2)),
                    ContainsSubstring("[conv2d] expected input with 5 channels, got shape [2, 4, 4, 3]"));
  CHECK_THROWS_WITH(ops::conv2d(tape, {}, image, variable({4, 9, 9, 3}, 2)), ContainsSubstring("9x9 kernel"));
  CHECK_THROWS_WITH(ops::conv2d(tape, {}, image, variable({1, 4, 3, 3, 3}, 2)),
                    ContainsSubstring("[conv2d] expected weight [O, R, S, I/g], got shape [1, 4, 3, 3, 3]"));
  CHECK_THROWS_WITH(ops::conv2d(tape, {.groups = 3}, image, variable({4, 3, 3, 1}, 2)),
                    ContainsSubstring("[conv2d] expected output channels divisible by 3 groups, got 4"));
  CHECK_THROWS_WITH(ops::linear(tape, image, variable({4, 3}, 2), {}), ContainsSubstring("[linear] expected"));
  CHECK_THROWS_WITH(ops::global_average_pool(tape, variable({2, 3}, 2)),
                    ContainsSubstring("[global_average_pool] expected input [N, H, W, C], got shape [2, 3]"));
  CHECK_THROWS_WITH(ops::max_pool(tape, {}, variable({2, 3}, 2)),
                    ContainsSubstring("[max_pool] expected input [N, H, W, C], got shape [2, 3]"));
  CHECK_THROWS_WITH(ops::max_pool(tape, {7, 1, 0}, image), ContainsSubstring("[max_pool] expected images that hold"));
  CHECK_THROWS_WITH(ops::dropout(tape, 0.1, 0, {}, image),
                    ContainsSubstring("[dropout] expected the number of the training"));
  const Tensor temperature = temperature_of(1);
  CHECK_THROWS_WITH(ops::od_conv2d(tape, {}, image, variable({2, 4, 3, 3, 3}, 2), {}, temperature),
                    ContainsSubstring("[od_conv2d] expected kernel logits for 2 kernels, got none"));
  ops::AttentionLogits logits;
  logits.channel = variable({2, 4}, 3);
  CHECK_THROWS_WITH(ops::od_conv2d(tape, {}, image, variable({1, 4, 3, 3, 3}, 2), logits, temperature),
                    ContainsSubstring("[od_conv2d] expected channel logits of shape [2, 3], got [2, 4]"));
  logits.channel = logits.filter = variable({2, 3}, 3);
  CHECK_THROWS_WITH(ops::od_conv2d(tape, {}, image, variable({1, 3, 3, 3, 3}, 2), logits, temperature),
                    ContainsSubstring("[od_conv2d] expected logits of their own for each attention, got the same"));
  CHECK_THROWS_WITH(ops::od_conv2d(tape, {}, image, variable({1, 4, 3, 3, 5}, 2), {}, temperature),
                    ContainsSubstring("expected input with 5 channels, got shape [2, 4, 4, 3]"));
  CHECK_THROWS_WITH(ops::od_conv2d(tape, {}, image, variable({4, 3, 3, 3}, 2), {}, temperature),
                    ContainsSubstring("[od_conv2d] expected weight [K, O, R, S, I/g], got shape [4, 3, 3, 3]"));
  CHECK_THROWS_WITH(ops::od_conv2d(tape, {.groups = 3}, image, variable({1, 4, 3, 3, 1}, 2), {}, temperature),
                    ContainsSubstring("[od_conv2d] expected output channels divisible by 3 groups, got 4"));
  CHECK_THROWS_WITH(ops::od_conv2d(tape, {}, image, variable({1, 4, 9, 9, 3}, 2), {}, temperature),
                    ContainsSubstring("[od_conv2d] expected an input of at least the kernel's reach, got shape "
                                      "[2, 4, 4, 3] for a 9x9 kernel"));
  CHECK_THROWS_WITH(ops::attentions({}, temperature),
                    ContainsSubstring("[od_conv2d] expected channel logits, which every ODConv has, got none"));
  CHECK_THROWS_WITH(ops::add_bias(tape, Variable(Tensor::zeros({3}, DType::f64)), variable({3}, 2), false),
                    ContainsSubstring("[add_bias] expected input [..., C], got shape [3]"));
  const Norm norm(3);
  CHECK_THROWS_WITH(
      ops::batch_norm(tape, {}, variable({1, 3}, 4), {}, norm.gamma, norm.beta, norm.running_mean, norm.running_var),
      ContainsSubstring("[batch_norm] expected at least 2 rows"));
  CHECK_THROWS_WITH(
      ops::batch_norm(tape, {}, variable({2, 4}, 4), {}, norm.gamma, norm.beta, norm.running_mean, norm.running_var),
      ContainsSubstring("[batch_norm] expected parameters"));
  CHECK_THROWS_WITH(ops::layer_norm(tape, 1e-5, false, variable({2, 4}, 4), norm.gamma, norm.beta),
                    ContainsSubstring("[layer_norm] expected gamma and beta of shape [4], got [3] and [3]"));
  const ops::AttentionHead channel{variable({4, 3}, 5), variable({4}, 6)};
  const auto attend = [&](const Variable& pooled, const Variable& trunk, const Norm& of_trunk,
                          const ops::AttentionHead& head, const Tensor& at) {
    ops::od_attention(tape, {}, pooled, trunk, of_trunk.gamma, of_trunk.beta, of_trunk.running_mean,
                      of_trunk.running_var, head, {}, {}, {}, at);
  };
  const Variable pooled = variable({2, 4}, 7), trunk = variable({3, 4}, 8);
  CHECK_NOTHROW(attend(pooled, trunk, norm, channel, temperature));
  CHECK_THROWS_WITH(attend(image, trunk, norm, channel, temperature),
                    ContainsSubstring("[od_attention] expected input [N, I], got shape [2, 4, 4, 3]"));
  CHECK_THROWS_WITH(attend(pooled, variable({3, 5}, 8), norm, channel, temperature),
                    ContainsSubstring("[od_attention] expected a trunk [A, 4], got shape [3, 5]"));
  CHECK_THROWS_WITH(attend(pooled, trunk, Norm(4), channel, temperature),
                    ContainsSubstring("[od_attention] expected parameters and statistics of shape [3], got [4]"));
  CHECK_THROWS_WITH(attend(pooled, trunk, norm, {variable({4, 2}, 5), channel.bias}, temperature),
                    ContainsSubstring("[od_attention] expected the weight of a head of 3 features, got shape [4, 2]"));
  CHECK_THROWS_WITH(attend(pooled, trunk, norm, {channel.weight, variable({3}, 5)}, temperature),
                    ContainsSubstring("[od_attention] expected a bias of shape [4], got [3]"));
  CHECK_THROWS_WITH(attend(pooled, trunk, norm, {}, temperature),
                    ContainsSubstring("[od_attention] expected a channel head, got none"));
  CHECK_THROWS_WITH(attend(pooled, trunk, norm, channel, Tensor::zeros({2}, DType::f64)),
                    ContainsSubstring("[od_attention] expected a temperature f64 [1], got f64 of shape [2]"));
  CHECK_THROWS_WITH(attend(variable({1, 4}, 7), trunk, norm, channel, temperature),
                    ContainsSubstring("[od_attention] expected at least 2 samples, got 1"));
  CHECK_THROWS_WITH(ops::cross_entropy(tape, image, Tensor::zeros({2}, DType::i32), nullptr),
                    ContainsSubstring("[cross_entropy] expected logits [N, C] and labels i32 [N], got shapes"));
  const Variable scores = variable({2, 3}, 5);
  const Tensor labels = Tensor::zeros({2}, DType::i32);
  CHECK_THROWS_WITH(ops::cross_entropy(tape, scores, labels, nullptr, {.other_labels = labels}),
                    ContainsSubstring("expected other labels i32 [N] with their share [1]"));
  CHECK_THROWS_WITH(ops::cross_entropy(tape, scores, labels, nullptr, {.smoothing = 1}),
                    ContainsSubstring("expected a smoothing in [0, 1), got 1"));
}

}  // namespace
}  // namespace omniconv
