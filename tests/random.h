// Test data: reproducible, and of a kind that central differences and comparisons can work with.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "engine/tensor.h"

namespace omniconv::test {

/// Uniform values in [-1, 1).
template <class T = double>
std::vector<T> uniform_values(std::int64_t count, std::uint64_t seed, double scale = 1) {
  std::mt19937_64 generator(seed);
  std::uniform_real_distribution<double> distribution(-scale, scale);
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& value : values) value = static_cast<T>(distribution(generator));
  return values;
}

/// The same as a tensor of T.
template <class T>
Tensor uniform_tensor(Shape shape, std::uint64_t seed, double scale = 1) {
  const auto values = uniform_values<T>(element_count(shape), seed, scale);
  return Tensor::from_host(values, std::move(shape));
}

}  // namespace omniconv::test
