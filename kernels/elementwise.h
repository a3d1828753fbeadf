// Small element-wise and layout work.
#pragma once

#include <cstdint>

#include "kernels/half.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// target[i] += source[i]; bf16 and f16 are added in float.
template <class T>
void add(const T* source, T* target, std::int64_t count, Stream stream);

/// output[r, c] = relu?(input[r, c] · scale[c] + shift[c] + residual[r, c]); scale, shift and residual may be nullptr,
/// output may be input.
template <class T>
void apply_affine(const T* input, const compute_type_t<T>* scale, const compute_type_t<T>* shift, const T* residual,
                  bool relu, T* output, std::int64_t rows, std::int64_t columns, Stream stream);

/// masked[i] = output[i] > 0 ? d_output[i] : 0, the gradient in front of a ReLU.
template <class T>
void mask_negative(const T* output, const T* d_output, T* masked, std::int64_t count, Stream stream);

/// target[i] (+)= source[i] between f32 and bf16 or f16, to nearest, ties to even.
template <class From, class To>
void convert(const From* source, To* target, std::int64_t count, bool accumulate, Stream stream);

/// target[g, r, j] = source[r, g, j]: rows of `groups` parts of `width` elements become one matrix per group.
template <class T>
void split_groups(const T* source, T* target, std::int64_t rows, std::int64_t groups, std::int64_t width,
                  Stream stream);

/// target[r, g, j] (+)= source[g, r, j], the reverse of split_groups.
template <class T>
void merge_groups(const T* source, T* target, std::int64_t rows, std::int64_t groups, std::int64_t width,
                  bool accumulate, Stream stream);

}  // namespace omniconv::kernels
