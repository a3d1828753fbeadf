// From the engine to a fixture's terms: tensors in PyTorch's layouts, summaries, and the common run of a module.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "layers/layers.h"
#include "tests/pytorch/closed_form.h"
#include "tests/pytorch/fixture.h"

namespace omniconv::pytorch {

/// `values` on the device, rounded to f32 where that is the type.
inline Tensor device_tensor(const std::vector<double>& values, const Shape& shape, DType dtype) {
  return dispatch("fixture", dtype, [&](auto zero) {
    return Tensor::from_host(std::vector<decltype(zero)>(values.begin(), values.end()), shape);
  });
}

/// The input `name` of the generator, [N, H, W, C].
inline Tensor make_input(std::uint64_t seed, const std::string& name, const Shape& shape, DType dtype) {
  return device_tensor(input_values(seed, name, shape), shape, dtype);
}

/// A tensor whose layout is PyTorch's as well: attentions, logits.
inline HostTensor host_tensor(const Tensor& tensor) {
  return dispatch("fixture", tensor.dtype(), [&](auto zero) {
    return make_host_tensor(tensor.to_host<decltype(zero)>(), tensor.shape());
  });
}

/// Activations [N, H, W, C] as [N, C, H, W].
inline HostTensor nchw(const Tensor& tensor) {
  return dispatch("fixture", tensor.dtype(), [&](auto zero) {
    const auto values = tensor.to_host<decltype(zero)>();
    auto reordered = values;
    std::size_t here = 0;
    for_each_nhwc(tensor.shape(), [&](std::int64_t, std::int64_t, std::int64_t there) {
      reordered[static_cast<std::size_t>(there)] = values[here++];
    });
    const Shape& s = tensor.shape();
    return make_host_tensor(reordered, {s[0], s[3], s[1], s[2]});
  });
}

/// The Euclidean norm of a tensor, then its elements at sample_indices(name), in f64 [17].
inline std::vector<double> summary(const std::string& name, const std::vector<double>& values) {
  double squares = 0;
  for (const double element : values) squares += element * element;
  std::vector<double> numbers{std::sqrt(squares)};
  for (const std::int64_t index : sample_indices(name, static_cast<std::int64_t>(values.size())))
    numbers.push_back(values[static_cast<std::size_t>(index)]);
  return numbers;
}

/// Whether a name in a state is that of a buffer.
inline bool is_buffer(const std::string& name) {
  return name.ends_with("running_mean") || name.ends_with("running_var") || name.ends_with("num_batches_tracked");
}

/// Gives all parameters and buffers of an allocated store the generator's values.
inline void fill(ParameterStore& store, std::uint64_t seed) {
  store.load_state(make_state(seed, store.state()), "closed form");
}

/// What a layer or block of a case runs on: [N, H, W, I], and f64 [1].
inline Tensor module_input(const Case& test, DType dtype) {
  const Shape shape{test.integer("batch"), test.integer("height"), test.integer("width"), test.integer("in_planes")};
  return make_input(test.seed(), "input", shape, dtype);
}
inline Tensor module_temperature(const Case& test) {
  return Tensor::from_host(std::vector<double>{test.number("temperature")});
}

using Forward = std::function<Variable(const Pass& pass, const Variable& input)>;

/// Runs a layer or block of a case forward, and backward from the generator's cotangent; `store` holds its parameters.
inline Results run_module(const Case& test, const ParameterStore& store, const Forward& forward) {
  const Variable input(module_input(test, store.dtype()), true);
  const auto before = store.state();
  Tape tape;
  store.begin_gradients();
  const Variable output = forward({tape, test.training(), module_temperature(test)}, input);
  const Tensor value = output.value();
  tape.backward(output, device_tensor(cotangent_values(test.seed(), value.shape()), value.shape(), store.dtype()));
  store.finish_gradients();

  Results results{{"value/output", nchw(value)}, {"grad/input", nchw(input.grad())}};
  for (auto& [name, gradient] : store.state_of(store.gradients())) results.emplace("grad/" + name, gradient);
  const auto after = store.state();
  for (const auto& [name, tensor] : after)
    // In evaluation a fixture has no buffers; one that has moved is reported as unknown to PyTorch.
    if (is_buffer(name) && (test.training() || tensor != before.at(name))) results.emplace("state/" + name, tensor);
  return results;
}

}  // namespace omniconv::pytorch
