#include "engine/weight_average.h"

#include "kernels/error.h"
#include "tests/random.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

TEST_CASE("averages follow weights and buffers, soon at first, and change places with them", "[optimizer]") {
  ParameterStore store(DType::f64, 1);
  store.add_parameter({"w", {3}, {}, false}, Initializer::normal(1));
  store.add_buffer({"b", {2}, {}, false}, 4);
  store.allocate();
  const std::int64_t values = store.values().count(), others = store.buffers().count();  // with what lies between
  std::vector<double> weights = store.values().to_doubles(), buffers = store.buffers().to_doubles();
  std::vector<double> expected_weights = weights, expected_buffers = buffers;
  const WeightAverage average(store, 0.3);
  for (std::int64_t step = 1; step <= 6; ++step) {
    weights = uniform_values(values, static_cast<std::uint64_t>(step));
    buffers = uniform_values(others, static_cast<std::uint64_t>(10 + step));
    store.values().copy_from_host(weights.data());
    store.buffers().copy_from_host(buffers.data());
    const double decay = std::min(0.3, (1.0 + static_cast<double>(step)) / (10.0 + static_cast<double>(step)));
    CHECK(average.decay_at(step) == decay);
    average.step_decay().copy_from_host(&decay);
    average.update();
    for (std::size_t i = 0; i < weights.size(); ++i)
      expected_weights[i] += (1 - decay) * (weights[i] - expected_weights[i]);
    for (std::size_t i = 0; i < buffers.size(); ++i)
      expected_buffers[i] += (1 - decay) * (buffers[i] - expected_buffers[i]);
  }
  average.exchange();
  require_close(store.values().to_doubles(), expected_weights, Tolerance::rounding<double>());
  require_close(store.buffers().to_doubles(), expected_buffers, Tolerance::rounding<double>());
  average.exchange();
  CHECK(store.values().to_doubles() == weights);
  CHECK(store.buffers().to_doubles() == buffers);
  for (const double decay : {0.0, 1.0, -0.1})
    CHECK_THROWS_WITH(WeightAverage(store, decay), StartsWith("[weight_average] expected a decay in (0, 1), got"));
}

TEST_CASE("a net in 16 bits computes with the averages once they have changed places", "[optimizer]") {
  ParameterStore store(DType::bf16, 1);
  const Variable weight = store.add_parameter({"w", {3}, {}, false}, Initializer::normal(1));
  store.add_buffer({"b", {2}, {}, false}, 4);
  store.allocate();
  const std::vector<double> first = weight.value_in(DType::bf16, "test").to_doubles();
  const WeightAverage average(store, 0.5);
  const std::vector<float> weights = {2, 3, -4};
  weight.value().copy_from_host(weights.data());
  store.round_values();
  average.exchange();
  CHECK(weight.value_in(DType::bf16, "test").to_doubles() == first);
  average.exchange();
  CHECK(weight.value_in(DType::bf16, "test").to_doubles() == std::vector<double>{2, 3, -4});
}

}  // namespace
}  // namespace omniconv::test
