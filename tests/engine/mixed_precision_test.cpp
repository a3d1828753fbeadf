// Parameters in f32 with a copy in 16 bits, and operations that read activations of 16 bits.
#include <cmath>
#include <utility>

#include "engine/ops/functions.h"
#include "engine/optimizer.h"
#include "engine/parameters.h"
#include "tests/random.h"
#include "tests/temporary_folder.h"
#include "tests/tolerance.h"

namespace omniconv {
namespace {

using test::message_of;
using test::require_close;
using test::Tolerance;
using test::uniform_tensor;
using test::uniform_values;

/// `values` in the type `dtype`.
Tensor tensor_in(DType dtype, const std::vector<double>& values, Shape shape) {
  return dispatch_storage("test", dtype, [&](auto zero) {
    return Tensor::from_host(std::vector<decltype(zero)>(values.begin(), values.end()), std::move(shape));
  });
}

std::vector<double> rounded(DType dtype, const std::vector<double>& values) {
  return tensor_in(dtype, values, {static_cast<std::int64_t>(values.size())}).to_doubles();
}

/// A store with two parameters, the second behind one of odd size.
struct SmallStore {
  ParameterStore store;
  Variable bias, weight;

  explicit SmallStore(DType precision)
      : store(precision, 3),
        bias(store.add_parameter({"bias", {9}, {}, false}, Initializer::normal(1))),
        weight(store.add_parameter({"weight", {4, 3}, {}, false}, Initializer::normal(1))) {
    store.allocate();
  }
};

TEST_CASE("a store in 16 bits keeps its values in f32 and a rounded copy of them", "[mixed]") {
  const DType precision = GENERATE(DType::bf16, DType::f16);
  const SmallStore small(precision);
  CHECK(small.store.dtype() == DType::f32);
  CHECK(small.store.precision() == precision);
  const std::vector<double> values = small.weight.value().to_doubles();
  CHECK(&small.weight.value_in(DType::f32, "test") == &small.weight.value());
  const Tensor& copy = small.weight.value_in(precision, "test");
  CHECK(copy.shape() == Shape{4, 3});
  CHECK(copy.to_doubles() == rounded(precision, values));
  CHECK(copy.to_doubles() != values);
  // The same first values in every precision, and memory that kernels can read in vectors.
  CHECK(SmallStore(DType::f32).weight.value().to_doubles() == values);
  CHECK(reinterpret_cast<std::uintptr_t>(copy.raw()) % 64 == 0);
}

TEST_CASE("the rounded copy follows steps of SGD and loaded states", "[mixed]") {
  const DType precision = GENERATE(DType::bf16, DType::f16);
  SmallStore small(precision);
  const Sgd sgd(small.store, {0.9, 0, false});
  sgd.set_learning_rate(0.5);
  const auto copy = [&] { return small.weight.value_in(precision, "test").to_doubles(); };
  const std::vector<double> before = copy();
  const double scale = sgd.loss_gradient().to_doubles()[0];
  small.store.gradients().copy_from(uniform_tensor<float>(small.store.gradients().shape(), 1, scale));
  sgd.step();
  CHECK(copy() != before);
  CHECK(copy() == rounded(precision, small.weight.value().to_doubles()));

  const SmallStore other(DType::f32);
  other.weight.value().copy_from(uniform_tensor<float>({4, 3}, 2));
  small.store.load_state(other.store.state(), "test");
  CHECK(copy() == rounded(precision, other.weight.value().to_doubles()));
}

TEST_CASE("an activation of another type than the net's is refused", "[mixed]") {
  const SmallStore small(DType::bf16);
  CHECK_NOTHROW(small.weight.value_in(DType::bf16, "conv2d"));
  CHECK(message_of<Error>([&] { small.weight.value_in(DType::f16, "conv2d"); }) ==
        "[conv2d] expected input of f32 or bf16, got f16");
  CHECK(message_of<Error>([&] { SmallStore(DType::f32).weight.value_in(DType::f16, "conv2d"); }) ==
        "[conv2d] expected input of f32, got f16");
}

/// A block of a net: convolution, norm with residual and relu, dynamic convolution steered by its own input, pool.
/// Returns the pooled output and all gradients of its inputs.
struct Block {
  std::vector<double> output, d_input, d_weight, d_dynamic, d_gamma, d_logits;

  explicit Block(DType precision) {
    const DType dtype = compute_dtype(precision);
    ParameterStore store(precision, 1);
    const Variable weight = store.add_parameter({"w", {8, 3, 3, 8}, {}, false}, Initializer::normal(0.2));
    const Variable dynamic = store.add_parameter({"d", {2, 8, 3, 3, 8}, {}, false}, Initializer::normal(0.2));
    const Variable gamma = store.add_parameter({"g", {8}, {}, false}, Initializer::value(1));
    const Variable beta = store.add_parameter({"b", {8}, {}, false}, Initializer::value(0.1));
    store.allocate();
    store.begin_gradients();
    const Tensor running_mean = Tensor::zeros({8}, dtype), running_var = Tensor::zeros({8}, dtype);
    const Variable input(tensor_in(precision, uniform_values(4 * 6 * 6 * 8, 2), {4, 6, 6, 8}), true);
    const auto logits = [&](std::int64_t width, std::uint64_t seed) {
      return Variable(tensor_in(dtype, uniform_values(4 * width, seed), {4, width}), true);
    };
    const ops::AttentionLogits attention{logits(8, 3), logits(8, 4), logits(9, 5), logits(2, 6)};
    const Conv2dParams params{.stride = 1, .padding = 1, .dilation = 1, .groups = 1};

    Tape tape;
    Variable hidden = ops::conv2d(tape, params, input, weight);
    hidden = ops::batch_norm(tape, {.relu = true}, hidden, input, gamma, beta, running_mean, running_var);
    hidden = ops::od_conv2d(tape, params, hidden, dynamic, attention, Tensor::from_host(std::vector<double>{2}));
    CHECK(hidden.value().dtype() == precision);
    const Variable pooled = ops::global_average_pool(tape, hidden);
    CHECK(pooled.value().dtype() == dtype);
    tape.backward(pooled, tensor_in(dtype, uniform_values(32, 7), {4, 8}));
    output = pooled.value().to_doubles();
    d_input = input.grad().to_doubles();
    d_weight = weight.grad().to_doubles();
    d_dynamic = dynamic.grad().to_doubles();
    d_gamma = gamma.grad().to_doubles();
    for (const Variable* logit : {&attention.channel, &attention.filter, &attention.spatial, &attention.kernel})
      for (const double value : logit->grad().to_doubles()) d_logits.push_back(value);
  }
};

/// |a - b| over |b|, as lengths.
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, length = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    length += b[i] * b[i];
  }
  return std::sqrt(difference / length);
}

TEST_CASE("a block in 16 bits computes what it does in f64, up to rounding", "[mixed]") {
  const auto [precision, bound] = GENERATE(table<DType, double>({{DType::bf16, 5e-2}, {DType::f16, 6e-3}}));
  const Block actual(precision), expected(DType::f64);
  CHECK(distance(actual.output, expected.output) < bound);
  CHECK(distance(actual.d_input, expected.d_input) < bound);
  CHECK(distance(actual.d_weight, expected.d_weight) < bound);
  CHECK(distance(actual.d_dynamic, expected.d_dynamic) < bound);
  CHECK(distance(actual.d_gamma, expected.d_gamma) < bound);
  CHECK(distance(actual.d_logits, expected.d_logits) < bound);
  // ... and really in 16 bits.
  CHECK(distance(actual.output, expected.output) > 1e-6);
}

TEST_CASE("an overflow in f16 skips the step, halves the scale and leaves weights and momentum alone", "[mixed]") {
  const SmallStore small(DType::f16);
  const Sgd sgd(small.store, {0.9, 5e-4, false});
  sgd.set_learning_rate(0.1);
  REQUIRE(sgd.loss_scaler());
  CHECK(sgd.loss_gradient().to_doubles() == std::vector<double>{65536});
  const auto step_with = [&](float gradient) {
    std::vector<float> gradients(static_cast<std::size_t>(small.store.gradients().count()), 1.0f);
    gradients[3] = gradient;
    small.store.gradients().copy_from_host(gradients.data());
    sgd.step();
  };
  step_with(1);
  const std::vector<double> weights = small.store.values().to_doubles(), velocity = sgd.velocity().to_doubles();
  CHECK(velocity[3] != 0);
  step_with(INFINITY);
  CHECK(small.store.values().to_doubles() == weights);
  CHECK(sgd.velocity().to_doubles() == velocity);
  CHECK(sgd.loss_gradient().to_doubles() == std::vector<double>{32768});
  CHECK(sgd.loss_scaler()->read().skipped_steps == 1);
  step_with(1);
  CHECK(small.store.values().to_doubles() != weights);
  CHECK(sgd.loss_scaler()->read().skipped_steps == 1);
  CHECK(sgd.loss_scaler()->read().good_steps == 1);

  // A step that is skipped halts nothing, whatever the norm that its gradients have; a loss that is no number does.
  Sgd clipped(small.store, {0.9, 5e-4, false});
  clipped.set_learning_rate(0.1);
  clipped.clip_gradients(1);
  std::vector<double> before = small.store.values().to_doubles();
  const auto changes_with = [&](float loss, float gradient) {
    std::vector<float> gradients(static_cast<std::size_t>(small.store.gradients().count()), gradient);
    small.store.gradients().copy_from_host(gradients.data());
    clipped.halt_unless_finite(Tensor::from_host(std::vector<float>{loss}));
    clipped.step();
    const std::vector<double> after = small.store.values().to_doubles();
    for (const double value : after) REQUIRE(std::isfinite(value));
    return std::exchange(before, after) != after;
  };
  CHECK_FALSE(changes_with(1, INFINITY));
  CHECK(changes_with(1, 1));
  CHECK_FALSE(changes_with(NAN, 1));
  CHECK_FALSE(changes_with(1, 1));

  for (const DType precision : {DType::f32, DType::bf16}) {
    const SmallStore other(precision);
    const Sgd plain(other.store, {0.9, 5e-4, false});
    CHECK_FALSE(plain.loss_scaler());
    CHECK(plain.loss_gradient().to_doubles() == std::vector<double>{1});
  }
}

}  // namespace
}  // namespace omniconv
