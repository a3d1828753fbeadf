// Every fusion against its composed form.
#include "engine/fusions.h"

#include "engine/conv/dynamic_conv.h"
#include "engine/device.h"
#include "engine/ops/functions.h"
#include "engine/optimizer.h"
#include "engine/parameters.h"
#include "kernels/simt/config.h"
#include "tests/catch.h"
#include "tests/random.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

TEST_CASE("a fusion is on or off as long as somebody wants it so", "[engine][fusions]") {
  for (const Fusion fusion : all_fusions) {
    CAPTURE(name_of(fusion));
    const bool before = fusion_enabled(fusion);
    CHECK(before == (OMNICONV_CUDA || fusion != Fusion::attention));
    {
      const WithFusion composed(fusion, false);
      CHECK_FALSE(fusion_enabled(fusion));
      {
        const WithFusion fused(fusion, true);
        CHECK(fusion_enabled(fusion));
      }
      CHECK_FALSE(fusion_enabled(fusion));
    }
    CHECK(fusion_enabled(fusion) == before);
  }
}

/// Values, then velocities, after three steps of SGD over parameters that do not fill their places in the arena.
template <class T>
std::vector<T> after_steps(bool grouped) {
  ParameterStore store(DTypeOf<T>::value, 7);
  for (const auto& [name, count] : {std::pair{"a", 5}, {"b", 1000}, {"c", 33}})
    store.add_parameter({name, {count}, {count}}, Initializer::normal(1));
  store.allocate();
  Sgd sgd(store, {.momentum = 0.9, .weight_decay = 5e-2, .nesterov = true});
  sgd.set_learning_rate(0.1);
  sgd.clip_gradients(3);
  if (grouped)
    sgd.use_groups({{0.2, 1}, {0, 1}, {0.2, 0}},
                   [](const std::string& name) { return static_cast<std::size_t>(name[0] - 'a'); });
  for (std::uint64_t step = 0; step < 3; ++step) {
    store.begin_gradients();
    for (const ParameterStore::Entry& entry : store.entries()) {
      const std::int64_t count = element_count(entry.spec.shape);
      const auto gradient = uniform_values<T>(count, 10 * step + static_cast<std::uint64_t>(entry.first));
      copy_to_device(store.gradients().template data<T>() + entry.first, gradient.data(), gradient.size() * sizeof(T));
    }
    sgd.step();
  }
  std::vector<T> result = store.values().template to_host<T>();
  const std::vector<T> velocity = sgd.velocity().template to_host<T>();
  result.insert(result.end(), velocity.begin(), velocity.end());
  return result;
}

TEMPLATE_TEST_CASE("SGD in one launch takes the steps of one launch per parameter", "[engine][fusions]", float,
                   double) {
  const bool grouped = GENERATE(false, true);
  CAPTURE(grouped);
  const auto fused = after_steps<TestType>(grouped);
  const WithFusion composed(Fusion::sgd, false);
  require_close(fused, after_steps<TestType>(grouped), Tolerance::rounding<TestType>(), "values and velocities");
}

Tensor random_tensor(DType dtype, const Shape& shape, std::uint64_t seed) {
  return dispatch_storage("test", dtype, [&](auto zero) { return uniform_tensor<decltype(zero)>(shape, seed); });
}

Variable random_variable(DType dtype, const Shape& shape, std::uint64_t seed) {
  return Variable(random_tensor(dtype, shape, seed), true);
}

/// A norm whose output is read by an ODConv and by two attentions, or by a classifier alone: the output and all
/// gradients of the norm.
std::vector<std::vector<double>> normed_and_pooled(DType precision, bool classifier) {
  constexpr std::int64_t samples = 3, channels = 8, out_channels = 4;
  const DType dtype = compute_dtype(precision);
  const Shape images{samples, 5, 6, channels};
  const Variable input = random_variable(precision, images, 1), residual = random_variable(precision, images, 2);
  const Variable gamma = random_variable(dtype, {channels}, 3), beta = random_variable(dtype, {channels}, 4);
  const Variable first = random_variable(dtype, {channels, channels}, 5);
  const Variable second = random_variable(dtype, {out_channels, channels}, 6);
  const Variable weight(random_tensor(precision, {1, out_channels, 3, 3, channels}, 7));
  const Tensor running_mean = Tensor::zeros({channels}, dtype), running_var = Tensor::zeros({channels}, dtype);
  Tape tape;
  const Variable normed =
      ops::batch_norm(tape, {.relu = true, .pool = true}, input, residual, gamma, beta, running_mean, running_var);
  CHECK(normed.pool().defined() == fusion_enabled(Fusion::pool));
  const auto attention = [&](const Variable& head) {
    return ops::linear(tape, ops::global_average_pool(tape, normed), head, {});
  };
  const Variable output =
      classifier
          ? attention(second)
          : ops::od_conv2d(tape, {.stride = 1, .padding = 1, .dilation = 1, .groups = 1}, normed, weight,
                           {.channel = attention(first), .filter = attention(second), .spatial = {}, .kernel = {}},
                           Tensor::from_host(std::vector<double>{0.1}));
  tape.backward(output, random_tensor(output.value().dtype(), output.shape(), 8));
  std::vector<std::vector<double>> results;
  for (const Tensor& tensor : {output.value(), input.grad(), residual.grad(), gamma.grad(), beta.grad(), second.grad()})
    results.push_back(tensor.to_doubles());
  return results;
}

TEMPLATE_TEST_CASE("a norm with its pool computes what two passes do", "[engine][fusions]", float, double, bf16, f16) {
  constexpr DType precision = DTypeOf<TestType>::value;
  const bool classifier = GENERATE(false, true);
  CAPTURE(classifier);
  const auto fused = normed_and_pooled(precision, classifier);
  const WithFusion composed(Fusion::pool, false);
  const auto expected = normed_and_pooled(precision, classifier);
  for (std::size_t i = 0; i < fused.size(); ++i) {
    CAPTURE(i);
    require_small_error<TestType>(fused[i], expected[i], "output, then d_input, d_residual, d_gamma, d_beta, d_head");
  }
}

/// Who else reads what comes out of an ODConv, besides its norm.
enum class OtherReader { none, before_the_norm, behind_the_norm };

/// An ODConv with a filter attention and its norm: the gradients of its input and of the filter's logits.
std::vector<std::vector<double>> filtered_and_normed(DType precision, OtherReader other) {
  constexpr std::int64_t samples = 3, channels = 8;
  const DType dtype = compute_dtype(precision);
  const auto logits = [&](std::uint64_t seed) { return random_variable(dtype, {samples, channels}, seed); };
  const Variable input = random_variable(precision, {samples, 5, 6, channels}, 1), filter = logits(2);
  const Variable gamma = random_variable(dtype, {channels}, 3), beta = random_variable(dtype, {channels}, 4);
  const Variable weight(random_tensor(precision, {1, channels, 3, 3, channels}, 5));
  const Tensor running_mean = Tensor::zeros({channels}, dtype), running_var = Tensor::zeros({channels}, dtype);
  const Tensor temperature = Tensor::from_host(std::vector<double>{0.5});
  Tape tape;
  const auto od_conv = [&](const Variable& of, const Variable& channel_logits, const Variable& filter_logits) {
    return ops::od_conv2d(tape, {.stride = 1, .padding = 1, .dilation = 1, .groups = 1}, of, weight,
                          {.channel = channel_logits, .filter = filter_logits, .spatial = {}, .kernel = {}},
                          temperature);
  };
  const Variable convolved = od_conv(input, logits(6), filter);
  Variable next = logits(7);
  if (other == OtherReader::before_the_norm) next = ops::global_average_pool(tape, convolved);
  const Variable normed = ops::batch_norm(tape, {.relu = true}, convolved, {}, gamma, beta, running_mean, running_var);
  if (other == OtherReader::behind_the_norm) next = ops::global_average_pool(tape, convolved);
  const Variable output = od_conv(normed, next, {});
  tape.backward(output, random_tensor(precision, output.shape(), 8));
  return {input.grad().to_doubles(), filter.grad().to_doubles()};
}

TEMPLATE_TEST_CASE("a norm's backward sums the filter attention's gradient as a pass of its own does",
                   "[engine][fusions]", float, double, bf16, f16) {
  constexpr DType precision = DTypeOf<TestType>::value;
  const OtherReader other = GENERATE(OtherReader::none, OtherReader::before_the_norm, OtherReader::behind_the_norm);
  CAPTURE(static_cast<int>(other));
  const auto fused = filtered_and_normed(precision, other);
  const WithFusion composed(Fusion::filter, false);
  const auto expected = filtered_and_normed(precision, other);
  require_small_error<TestType>(fused[0], expected[0], "d_input");
  // Alone the pass reads the gradient rounded to 16 bits: an error of the terms, which cancel in part, on a GPU's plan
  // more than on a CPU's.
  const double norm = norm_of(expected[1]) * (OMNICONV_CUDA && is_half<TestType> ? 2 : 1);
  require_small_error<TestType>(fused[1], expected[1], norm, "d_filter");
}

/// An ODConv and its norm in training: the norm's output, its running statistics, and the gradients of both.
std::vector<std::vector<double>> convolved_and_normed(DType precision, const Shape& images, bool expect_moments) {
  constexpr std::int64_t out_channels = 24;
  const std::int64_t samples = images.front(), channels = images.back();
  const DType dtype = compute_dtype(precision);
  const auto logits = [&](std::int64_t width, std::uint64_t seed) {
    return random_variable(dtype, {samples, width}, seed);
  };
  const Variable input = random_variable(precision, images, 1);
  const Variable weight = random_variable(dtype, {2, out_channels, 3, 3, channels}, 2);
  if (precision != dtype) weight.bind(weight.value(), {}, random_tensor(precision, weight.shape(), 2));
  const ops::AttentionLogits attention{logits(channels, 3), logits(out_channels, 4), logits(9, 5), logits(2, 6)};
  const Variable gamma = random_variable(dtype, {out_channels}, 7), beta = random_variable(dtype, {out_channels}, 8);
  const Tensor running_mean = Tensor::zeros({out_channels}, dtype), running_var = Tensor::zeros({out_channels}, dtype);
  Tape tape;
  const Variable convolved = ops::od_conv2d(tape, {.stride = 1, .padding = 1, .dilation = 1, .groups = 1}, input,
                                            weight, attention, Tensor::from_host(std::vector<double>{1}), true);
  const Moments moments = convolved.take_moments();
  CHECK(moments.values.defined() == expect_moments);
  CHECK_FALSE(convolved.take_moments().values.defined());
  convolved.attach_moments(moments);
  const Variable output = ops::batch_norm(tape, {}, convolved, {}, gamma, beta, running_mean, running_var);
  CHECK_FALSE(convolved.take_moments().values.defined());
  tape.backward(output, random_tensor(precision, output.shape(), 9));
  std::vector<std::vector<double>> results;
  for (const Tensor& tensor : {output.value(), running_mean, running_var, gamma.grad(), beta.grad(), input.grad()})
    results.push_back(tensor.to_doubles());
  return results;
}

TEMPLATE_TEST_CASE("a norm takes the statistics that the convolution before it left", "[engine][fusions]", bf16, f16) {
  constexpr DType precision = DTypeOf<TestType>::value;
  const conv::Algorithm algorithm = GENERATE(conv::Algorithm::tensor_core, conv::Algorithm::tensor_core_summed);
  const conv::ForceAlgorithm forced(algorithm);
  const Shape images = GENERATE(Shape{3, 17, 16, 16}, Shape{5, 8, 8, 16}, Shape{3, 4, 4, 64});
  CAPTURE(conv::name_of(algorithm), images);
  // C takes no images of that many pixels. Then the default plan runs, which on a GPU is B.
  const bool takes = OMNICONV_CUDA || algorithm == conv::Algorithm::tensor_core || images[1] * images[2] <= 64;
  const auto fused = convolved_and_normed(precision, images, takes);
  const WithFusion composed(Fusion::statistics, false);
  const auto expected = convolved_and_normed(precision, images, false);
  for (std::size_t i = 0; i < fused.size(); ++i) {
    CAPTURE(i);
    require_small_error<TestType>(fused[i], expected[i],
                                  "output, then running_mean, running_var, d_gamma, d_beta, d_input");
  }
}

TEST_CASE("a convolution whose kernels leave no moments has none", "[engine][fusions]") {
  for (const DType precision : {DType::f32, DType::f64}) convolved_and_normed(precision, {3, 5, 6, 8}, false);
}

}  // namespace
}  // namespace omniconv::test
