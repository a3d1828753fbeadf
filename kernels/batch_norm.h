// Batch norm over the rows of [M, C], with fused ReLU and residual add.
//
//   y = relu?( gamma · (x - mean) · rstd + beta + residual? ),   rstd = (var + eps)^(-1/2)
//
// In training mean and biased variance are those of the M rows, the running statistics move by `momentum` (the
// running variance takes the unbiased variance, M/(M-1)); otherwise the running statistics are used. Ioffe & Szegedy,
// 2015; the backward is derived in docs/odconv.md. Rows of bf16 or f16 are normalised in float, which statistics and
// parameters have: compute_type_t<T>.
#pragma once

#include <cstdint>

#include "kernels/half.h"
#include "kernels/moments.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

struct BatchNormShape {
  std::int64_t rows = 0;      ///< M: samples · pixels, or samples for the attention's norm
  std::int64_t channels = 0;  ///< C
  double epsilon = 1e-5;
  bool relu = false;
  std::int64_t samples = 1;  ///< N, of M / N rows each: what sums by sample are about

  std::int64_t pixels() const { return rows / samples; }
};

/// Number of compute_type_t<T> elements of workspace that statistics, a pool and backward need (partial sums, split by
/// shape alone).
template <class T>
std::int64_t batch_norm_workspace(const BatchNormShape& shape);

/// Mean and rstd of the rows of input [M, C] into mean [C] and rstd [C]; running_mean, running_var [C] move towards
/// them: running += momentum · (batch - running). `batches` [1], or nullptr, counts how often they did. Needs M >= 2.
template <class T>
void batch_norm_statistics(const BatchNormShape& shape, const T* input, compute_type_t<T>* mean,
                           compute_type_t<T>* rstd, compute_type_t<T>* running_mean, compute_type_t<T>* running_var,
                           std::int64_t* batches, double momentum, compute_type_t<T>* workspace, Stream stream);

/// The same without a pass over the input, from the moments [parts, 2, C] of parts of its rows. T is the input's type.
template <class T>
void batch_norm_combine(const BatchNormShape& shape, const MomentParts& parts, const compute_type_t<T>* moments,
                        compute_type_t<T>* mean, compute_type_t<T>* rstd, compute_type_t<T>* running_mean,
                        compute_type_t<T>* running_var, std::int64_t* batches, double momentum, Stream stream);

/// mean = running_mean, rstd = (running_var + eps)^(-1/2), for evaluation. f32 or f64.
template <class T>
void batch_norm_use_running(const BatchNormShape& shape, const T* running_mean, const T* running_var, T* mean, T* rstd,
                            Stream stream);

/// output = relu?(gamma (input - mean) rstd + beta + residual), and on the side its mean over the rows of each sample.
template <class T>
struct BatchNormApply {
  using Value = compute_type_t<T>;

  const T* input;               // [M, C]
  const T* residual = nullptr;  // [M, C] or nullptr
  const Value* mean;            // [C]
  const Value* rstd;            // [C]
  const Value* gamma;           // [C]
  const Value* beta;            // [C]
  T* output;                    // [M, C]
  Value* pool = nullptr;        // [N, C] or nullptr: 1/P Σ_p output, as global_average_pool_forward has it
  Value* workspace = nullptr;   // batch_norm_workspace elements, where there is a pool
};

template <class T>
void batch_norm_apply(const BatchNormShape& shape, const BatchNormApply<T>& arguments, Stream stream);

/// Gradients. What arrives is d_output + d_pool / P, masked by output > 0 where shape.relu; one of the two may be
/// nullptr. `batch_statistics` says whether mean and rstd depended on the input (training). Each target may be nullptr
/// (not wanted) and has its own accumulate flag. Of an element d_residual is written first, so d_input may be the same
/// memory and accumulate there.
template <class T>
struct BatchNormBackward {
  using Value = compute_type_t<T>;

  const T* input;     // [M, C]
  const T* output;    // [M, C], read only for its sign where shape.relu
  const T* d_output;  // [M, C]
  const Value* d_pool = nullptr;  // [N, C]
  const Value* mean;  // [C]
  const Value* rstd;  // [C]
  const Value* gamma;  // [C]
  bool batch_statistics = true;
  T* d_input = nullptr;  // [M, C]
  bool accumulate_input = false;
  T* d_residual = nullptr;  // [M, C]
  bool accumulate_residual = false;
  Value* d_gamma = nullptr;  // [C]
  bool accumulate_gamma = false;
  Value* d_beta = nullptr;  // [C]
  bool accumulate_beta = false;
  // [N, batch_norm_dot_parts, C], whose parts add up to Σ_p d_input ⊙ input by sample, from d_input before T rounds it;
  // d_input must not accumulate.
  Value* dots = nullptr;
  Value* workspace;  // batch_norm_workspace elements
};

template <class T>
void batch_norm_backward(const BatchNormShape& shape, const BatchNormBackward<T>& arguments, Stream stream);

/// The parts that a sample's pixels are cut into for BatchNormBackward::dots.
template <class T>
std::int64_t batch_norm_dot_parts(const BatchNormShape& shape);

}  // namespace omniconv::kernels
