// The closed-form generator of closed_form.py: inputs and weights as a formula, the same doubles on both sides, so that
// fixtures hold results only. The formula and the rules are explained in the docstring there.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/host_tensor.h"

namespace omniconv::pytorch {

inline constexpr std::int64_t summary_samples = 16;

/// 64-bit FNV-1a of the UTF-8 name.
inline std::uint64_t fnv1a(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

inline std::uint64_t hash64(std::uint64_t seed, std::string_view name, std::uint64_t index) {
  std::uint64_t z = (fnv1a(name) ^ seed) + (index + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

/// One number in [-1, 1).
inline double value(std::uint64_t seed, std::string_view name, std::uint64_t index) {
  return 2.0 * (static_cast<double>(hash64(seed, name, index) >> 11) * 0x1p-53) - 1.0;
}

/// What the parameter or buffer `name` is filled with; `shape` and the order of the values are PyTorch's.
inline std::vector<double> state_values(std::uint64_t seed, const std::string& name, const Shape& shape) {
  double offset = 0, scale = 1;
  if (name.ends_with("running_var")) {
    offset = 1;
    scale = 0.5;
  } else if (name.ends_with("running_mean") || name.ends_with("bias")) {
    scale = 0.125;
  } else if (shape.size() == 1) {
    offset = 1;
    scale = 0.125;
  } else if (name.ends_with("_fc.weight")) {
    scale = 0.5;
  } else if (shape.size() == 2) {
    scale = std::sqrt(3.0 / static_cast<double>(shape[1]));
  } else {
    scale = std::sqrt(6.0 / static_cast<double>(element_count({shape.end() - 3, shape.end()})));
  }
  std::vector<double> values(static_cast<std::size_t>(element_count(shape)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = offset + scale * value(seed, name, i);
  return values;
}

/// The whole state that a module starts from; `like` gives names and shapes, in PyTorch's layout.
inline std::map<std::string, HostTensor> make_state(std::uint64_t seed, const std::map<std::string, HostTensor>& like) {
  std::map<std::string, HostTensor> state;
  for (const auto& [name, tensor] : like) {
    const bool counter = name.ends_with("num_batches_tracked");
    state.emplace(name, counter ? make_host_tensor(std::vector<std::int64_t>{0}, tensor.shape)
                                : make_host_tensor(state_values(seed, name, tensor.shape), tensor.shape));
  }
  return state;
}

/// Calls visit(n, c, index in [N, C, H, W]) for the elements of `shape` [N, H, W, C], in their order.
template <class Visit>
void for_each_nhwc(const Shape& shape, const Visit& visit) {
  const std::int64_t pixels = shape.at(1) * shape.at(2), channels = shape.at(3);
  for (std::int64_t n = 0; n < shape[0]; ++n)
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel)
      for (std::int64_t c = 0; c < channels; ++c) visit(n, c, (n * channels + c) * pixels + pixel);
}

/// An input of `shape` [N, H, W, C], every plane around a mean of its own.
inline std::vector<double> input_values(std::uint64_t seed, const std::string& name, const Shape& shape) {
  const std::string mean = name + ".mean";
  std::vector<double> values;
  for_each_nhwc(shape, [&](std::int64_t n, std::int64_t c, std::int64_t index) {
    values.push_back(value(seed, name, static_cast<std::uint64_t>(index)) +
                     value(seed, mean, static_cast<std::uint64_t>(n * shape[3] + c)));
  });
  return values;
}

/// The gradient of the loss with respect to an output of `shape` [N, OH, OW, O].
inline std::vector<double> cotangent_values(std::uint64_t seed, const Shape& shape) {
  std::vector<double> values;
  for_each_nhwc(shape, [&](std::int64_t, std::int64_t, std::int64_t index) {
    values.push_back(value(seed, "cotangent", static_cast<std::uint64_t>(index)));
  });
  return values;
}

/// The classes of images first .. first + count - 1.
inline std::vector<std::int32_t> labels(std::int64_t first, std::int64_t count) {
  std::vector<std::int32_t> classes;
  for (std::int64_t n = first; n < first + count; ++n) classes.push_back(static_cast<std::int32_t>((3 * n + 1) % 10));
  return classes;
}

/// The elements of a tensor of `count` that its summary holds; repeats are allowed.
inline std::vector<std::int64_t> sample_indices(std::string_view name, std::int64_t count) {
  std::vector<std::int64_t> indices;
  for (std::uint64_t j = 0; j < summary_samples; ++j)
    indices.push_back(static_cast<std::int64_t>(hash64(0, name, j) % static_cast<std::uint64_t>(count)));
  return indices;
}

}  // namespace omniconv::pytorch
