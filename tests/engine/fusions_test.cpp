// Every fusion against its composed form.
#include "engine/fusions.h"

#include "engine/device.h"
#include "engine/optimizer.h"
#include "engine/parameters.h"
#include "tests/catch.h"
#include "tests/random.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

TEST_CASE("a fusion is off as long as it is switched off", "[engine][fusions]") {
  for (const Fusion fusion : all_fusions) {
    CAPTURE(name_of(fusion));
    CHECK(fusion_enabled(fusion));
    {
      const WithoutFusion composed(fusion);
      CHECK_FALSE(fusion_enabled(fusion));
      { const WithoutFusion again(fusion); }
      CHECK_FALSE(fusion_enabled(fusion));
    }
    CHECK(fusion_enabled(fusion));
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
  const WithoutFusion composed(Fusion::sgd);
  require_close(fused, after_steps<TestType>(grouped), Tolerance::rounding<TestType>(), "values and velocities");
}

}  // namespace
}  // namespace omniconv::test
