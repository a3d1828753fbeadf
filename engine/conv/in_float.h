// Convolutions in bf16 or f16 by way of f32: the operands are converted, the convolution runs in f32, its result is
// rounded. That is how the CPU, whose library is not asked for 16 bits, emulates them, and how they get algorithms that
// have no form of their own in 16 bits.
#pragma once

#include "engine/conv/library_parts.h"

namespace omniconv::conv {

/// A copy in f32.
template <class T>
Buffer<float> to_float(const T* source, std::int64_t count, Stream stream) {
  Buffer<float> values(count);
  kernels::convert(source, values.get(), count, false, stream);
  return values;
}

/// output = run(input, weight, output) of K kernels, in f32.
template <class T, class Run>
void forward_in_float(const ConvShape& shape, std::int64_t kernels, const T* input, const T* weight, T* output,
                      Stream stream, const Run& run) {
  const Buffer<float> inputs = to_float(input, shape.input_count(), stream);
  const Buffer<float> weights = to_float(weight, kernels * shape.weight_count(), stream);
  const Buffer<float> outputs(shape.output_count());
  run(inputs.get(), weights.get(), outputs.get());
  kernels::convert(outputs.get(), output, shape.output_count(), false, stream);
}

/// d_input (+)= run(input, weight, d_output, d_input), in f32; `input` may be nullptr.
template <class T, class Run>
void data_gradient_in_float(const ConvShape& shape, std::int64_t kernels, const T* input, const T* weight,
                            const T* d_output, T* d_input, bool accumulate, Stream stream, const Run& run) {
  const Buffer<float> inputs = to_float(input, input ? shape.input_count() : 0, stream);
  const Buffer<float> weights = to_float(weight, kernels * shape.weight_count(), stream);
  const Buffer<float> upstream = to_float(d_output, shape.output_count(), stream);
  const Buffer<float> gradient(shape.input_count());
  run(input ? inputs.get() : nullptr, weights.get(), upstream.get(), gradient.get());
  kernels::convert(gradient.get(), d_input, shape.input_count(), accumulate, stream);
}

/// run(input, weight, d_output), whose results are f32 anyway.
template <class T, class Run>
void weight_gradient_in_float(const ConvShape& shape, std::int64_t kernels, const T* input, const T* weight,
                              const T* d_output, Stream stream, const Run& run) {
  const Buffer<float> inputs = to_float(input, shape.input_count(), stream);
  const Buffer<float> weights = to_float(weight, kernels * shape.weight_count(), stream);
  const Buffer<float> upstream = to_float(d_output, shape.output_count(), stream);
  run(inputs.get(), weights.get(), upstream.get());
}

}  // namespace omniconv::conv
