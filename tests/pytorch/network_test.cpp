// Whole nets against PyTorch in f64: logits in evaluation and in training, loss, and summaries of every gradient.
#include "tests/pytorch/network.h"

#include "tests/pytorch/comparison.h"

namespace omniconv::pytorch {
namespace {

HostTensor as_tensor(const std::vector<double>& values) {
  return make_host_tensor(values, {static_cast<std::int64_t>(values.size())});
}

Results run_network(const Case& test) {
  const auto model = make_network(test);
  model->set_temperature(test.number("temperature"));
  const Variable images(network_input(test, "input"), true);
  Tape silent(false);
  Results results{{"value/eval_logits", host_tensor(model->net.forward(model->pass(silent, false), images).value())}};
  const StepValues step = forward_and_backward(*model, images, 0);
  results.emplace("value/logits", host_tensor(step.logits));
  results.emplace("value/loss", make_host_tensor(std::vector{step.loss}, {}));
  results.emplace("grad/input", as_tensor(summary("input", to_doubles(nchw(images.grad()), "input"))));
  for (const auto& [name, gradient] : model->store.state_of(model->store.gradients()))
    results.emplace("grad/" + name, as_tensor(summary(name, to_doubles(gradient, name))));
  for (const auto& [key, numbers] : running_summaries(*model)) results.emplace(key, as_tensor(numbers));
  return results;
}

TEST_CASE("whole nets agree with PyTorch in f64", "[pytorch]") {
  const Fixture fixture = read_fixture("network.f64");
  REQUIRE(fixture.cases.size() >= 6);
  for (const Case& test : fixture.cases)
    check_agreement(test.name(), run_network(test), fixture.expected(test), Bars::network(), Form::summaries);
}

}  // namespace
}  // namespace omniconv::pytorch
