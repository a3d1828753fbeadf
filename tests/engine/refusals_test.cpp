// What the engine refuses, and in which words; operations and files have their own beside what they do.
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "engine/conv/recorder.h"
#include "engine/files.h"
#include "engine/optimizer.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

struct Refusal {
  std::function<void()> action;
  std::string message;
};

void check_all(const std::vector<Refusal>& refusals) {
  for (const Refusal& refusal : refusals) {
    INFO(refusal.message);
    CHECK_THAT(message_of<Error>(refusal.action), StartsWith(refusal.message));
  }
}

/// A parameter "a" of two elements.
ParameterStore small_store() {
  ParameterStore store(DType::f32, 0);
  store.add_parameter({"a", {2}, {}, false}, Initializer::value(1));
  return store;
}

TEST_CASE("tensors refuse what does not fit") {
  const Tensor four = Tensor::zeros({2, 2}, DType::f32);
  check_all({
      {[] {
         element_count({2, -1});
       },
       "[tensor] expected extents of at least 0, got shape [2, -1]"},
      {[] {
         element_count({1, std::numeric_limits<std::int64_t>::max() / 8 + 1});
       },
       "[tensor] expected a shape that fits into memory, got [1, 1152921504606846976]"},
      {[] {
         Tensor::from_host(std::vector<float>{1, 2}, {3});
       },
       "[tensor] expected 3 values for shape [3], got 2"},
      {[&] { four.view(1, {4}); }, "[tensor] expected a view within 4 elements, got 4 from 1"},
      {[&] { four.view(-1, {1}); }, "[tensor] expected a view within 4 elements, got 1 from -1"},
      {[&] { four.copy_from(Tensor::zeros({3}, DType::f32)); }, "[tensor] expected a source of 4 f32, got 3 f32"},
      {[&] { four.copy_from(Tensor::zeros({4}, DType::f64)); }, "[tensor] expected a source of 4 f32, got 4 f64"},
      {[&] { four.data<double>(); }, "[tensor] expected a tensor of f64, got f32"},
      {[] { dispatch("relu", DType::i32, [](auto) {}); }, "[relu] expected a tensor of f32 or f64, got i32"},
      {[] { dispatch_storage("relu", DType::u8, [](auto) {}); }, "[relu] expected a tensor of f32 or f64, got u8"},
      {[] { size_of(static_cast<DType>(99)); }, "[dtype] expected a known element type, got 99"},
      {[&] {
         HostCopy copy;
         copy.take(four);
         copy.values<double>();
       },
       "[host_copy] expected values of f32, got a request for f64"},
  });
}

TEST_CASE("variables and tapes refuse what does not fit") {
  const Tensor two = Tensor::zeros({2}, DType::f32);
  const Variable variable(two, true);
  Tape tape;
  check_all({
      {[] { Variable().value(); }, "[variable] expected a variable with a value, got an empty one"},
      {[] { Variable::declare(true).value(); }, "[variable] expected a variable with a value, got an empty one"},
      {[&] { Variable::declare(true).bind(two, Tensor::zeros({3}, DType::f32)); },
       "[variable] expected a gradient of shape [2], got [3]"},
      {[&] { tape.backward(variable); }, "[backward] expected a scalar loss, got shape [2]"},
      {[&] { tape.backward(variable, Tensor::zeros({3}, DType::f32)); },
       "[backward] expected a gradient of shape [2], got [3]"},
      {[&] { tape.backward(variable, two); }, "[backward] expected an output recorded on this tape"},
  });
}

TEST_CASE("parameters are declared once and before they are laid out") {
  ParameterStore open = small_store();
  open.add_counter("count");
  ParameterStore closed = small_store();
  closed.allocate();
  check_all({
      {[&] {
         open.add_parameter({"a", {3}, {}, false}, {});
       },
       "[parameters] expected a new name, got a twice"},
      {[&] {
         open.add_buffer({"count", {3}, {}, false}, 0);
       },
       "[parameters] expected a new name, got count twice"},
      {[&] { open.add_counter("a"); }, "[parameters] expected a new name, got a twice"},
      {[&] { open.add_counter("count"); }, "[parameters] expected a new name, got count twice"},
      {[&] {
         open.add_parameter({"b", {3}, {2, 2}, false}, {});
       },
       "[parameters] expected b to have as many elements in files, got shapes [3] and [2, 2]"},
      {[&] {
         closed.add_parameter({"b", {3}, {}, false}, {});
       },
       "[parameters] expected all declarations before allocate(), got b"},
      {[&] { closed.add_counter("count"); }, "[parameters] expected all declarations before allocate(), got count"},
      {[&] { closed.entry("c"); }, "[parameters] expected the name of a parameter or buffer, got c"},
  });
}

TEST_CASE("the optimizer refuses settings and groups that it cannot use") {
  ParameterStore store = small_store();
  store.allocate();
  const auto with = [&](const kernels::SgdSettings& settings) { return [&store, settings] { Sgd(store, settings); }; };
  Sgd sgd(store, {.momentum = 0.9});
  const auto group = [](std::size_t number) { return [number](const std::string&) { return number; }; };
  check_all({
      {with({.momentum = 1}), "[sgd] expected a momentum in [0, 1), got 1"},
      {with({.momentum = -0.1}), "[sgd] expected a momentum in [0, 1), got -0.1"},
      {with({.momentum = 0, .weight_decay = -1}), "[sgd] expected a weight decay of at least 0, got -1"},
      {with({.momentum = 0, .nesterov = true}), "[sgd] expected a momentum above 0 for Nesterov, got 0"},
      {[&] { sgd.clip_gradients(0); }, "[sgd] expected a norm above 0 to clip gradients to, got 0"},
      {[&] { sgd.set_groups(std::vector<kernels::SgdGroup>(1)); }, "[sgd] expected as many groups as before, got 1"},
      {[&] { sgd.use_groups(std::vector<kernels::SgdGroup>(2), group(2)); },
       "[sgd] expected one of 2 groups for a, got number 2"},
      {[&] {
         sgd.use_groups(std::vector<kernels::SgdGroup>(2), group(1));
         sgd.set_groups(std::vector<kernels::SgdGroup>(1));
       },
       "[sgd] expected as many groups as before, got 1"},
      {[] { LossScaler(4).unscale(Tensor::zeros({1 << 22}, DType::f32)); },
       "[loss_scaler] expected the gradients it was made for, got 4194304 values"},
  });
}

TEST_CASE("there is one recorder of convolutions at a time") {
  {
    const conv::RunRecorder recorder;
    check_all({{[] { conv::RunRecorder second; }, "[run_recorder] expected to be the only one, got a second"}});
  }
  CHECK_NOTHROW(conv::RunRecorder());
}

TEST_CASE("a read beyond a file's end names the byte") {
  const TemporaryFolder folder;
  write_text(folder.file("three"), "abc");
  const InputFile file("test", folder.file("three"));
  std::vector<std::byte> five(5);
  check_all({{[&] { file.read(1, five); },
              "[test] " + folder.file("three") + ": expected 3 more bytes, got the file's end at byte 3"}});
}

}  // namespace
}  // namespace omniconv::test
