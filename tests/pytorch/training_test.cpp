// Training against PyTorch in f64: SGD with momentum and weight decay under both schedules, from heads at zero; loss,
// and summaries of all weights, of their change and of the running statistics, after every step.
#include "engine/optimizer.h"
#include "engine/schedule.h"
#include "tests/pytorch/comparison.h"
#include "tests/pytorch/network.h"

namespace omniconv::pytorch {
namespace {

/// Sets weights and biases of all attention heads to zero.
void zero_heads(ParameterStore& store) {
  auto state = store.state();
  for (auto& [name, tensor] : state)
    if (name.ends_with("_fc.weight") || name.ends_with("_fc.bias"))
      std::fill(tensor.bytes.begin(), tensor.bytes.end(), std::byte{0});
  store.load_state(state, "zero heads");
}

/// The numbers of one step after those of the steps before it.
using Rows = std::map<std::string, std::vector<double>>;

void append(Rows& rows, const std::string& key, const std::vector<double>& row) {
  rows[key].insert(rows[key].end(), row.begin(), row.end());
}

void append_weights(Rows& rows, const ParameterStore& store, const std::map<std::string, HostTensor>& start) {
  for (const auto& [name, tensor] : store.state_of(store.values())) {
    std::vector<double> weights = to_doubles(tensor, name);
    append(rows, "weight/" + name, summary(name, weights));
    const std::vector<double> first = to_doubles(start.at(name), name);
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] -= first[i];
    append(rows, "change/" + name, summary(name, weights));
  }
}

Results run_training(const Case& test) {
  REQUIRE(test.text("heads") == "zero");
  const auto model = make_network(test);
  zero_heads(model->store);
  const auto start = model->store.state();
  const Sgd optimizer(model->store,
                      {.momentum = test.number("momentum"), .weight_decay = test.number("weight_decay")});
  const TemperatureSchedule schedule{test.number("temperature_start"), test.number("temperature_end"),
                                     test.integer("temperature_epochs")};
  const std::int64_t epochs = test.integer("epochs"), batches = test.integer("batches_per_epoch");
  Rows rows;
  for (std::int64_t step = 0; step < epochs * batches; ++step) {
    const std::int64_t batch = step % batches;
    const double rate = cosine_learning_rate(test.number("lr"), step / batches, epochs);
    const double temperature = temperature_at(schedule, step, batches);
    optimizer.set_learning_rate(rate);
    model->set_temperature(temperature);
    const Variable images(network_input(test, concat("batch", batch, ".input")));
    const double loss = forward_and_backward(*model, images, batch * test.integer("batch")).loss;
    optimizer.step();
    append(rows, "value/loss", {loss});
    append(rows, "value/lr", {rate});
    append(rows, "value/temperature", {temperature});
    append_weights(rows, model->store, start);
    for (const auto& [key, numbers] : running_summaries(*model)) append(rows, key, numbers);
  }
  Results results;
  for (const auto& [key, numbers] : rows) {
    const Shape shape = key.starts_with("value/") ? Shape{epochs * batches}
                                                  : Shape{epochs * batches, 1 + summary_samples};
    results.emplace(key, make_host_tensor(numbers, shape));
  }
  return results;
}

TEST_CASE("training agrees with PyTorch in f64, step by step", "[pytorch]") {
  const Fixture fixture = read_fixture("training.f64");
  REQUIRE_FALSE(fixture.cases.empty());
  for (const Case& test : fixture.cases)
    check_agreement(test.name(), run_training(test), fixture.expected(test), Bars::network(), Form::summaries);
}

}  // namespace
}  // namespace omniconv::pytorch
