// The dynamic convolution of ODConv and its algorithms.
//
// Every algorithm computes the same three functions; which one runs is a plan, a pure function of shapes, type and
// device. The math is derived in docs/odconv.md. T is f32, f64, bf16 or f16, the type of activations and weights;
// attention and the gradients of weights and attention are of compute_type_t<T>.
#pragma once

#include <string_view>

#include "engine/tensor.h"
#include "kernels/conv_shape.h"
#include "kernels/half.h"
#include "kernels/simt/stream.h"

namespace omniconv::conv {

enum class Algorithm {
  tiled,        ///< our kernel: aggregated tiles in shared memory, plain FMA
  materialise,  ///< A: per-sample weights in memory, batched products
  blocked,      ///< B: aggregated slices in the CPU's cache, consumed at once by the library's convolution
  summed,       ///< C: one product over kernels, taps and channels, activations scaled by q and c, padding skipped
  two_sided,    ///< D: patches scaled by c and s, products with all kernels, combined by f and p
  tensor_core,  ///< B on tensor cores, in bf16 and f16: aggregated tiles in shared memory or registers
  tensor_core_summed,  ///< C on tensor cores, in bf16 and f16: products with all kernels, weighed by q
};

enum class Direction { forward, data_gradient, weight_gradient };

/// "tiled", "materialise", ...
std::string_view name_of(Algorithm algorithm);

/// Whether this build has the algorithm for the type; in bf16 and f16 those without a form of their own run in f32.
bool is_available(Algorithm algorithm, DType dtype);

/// Whether the algorithm computes this convolution of K `kernels` in this direction, on this build.
bool takes(Algorithm algorithm, const ConvShape& shape, std::int64_t kernels, DType dtype, Direction direction);

/// An algorithm, and why it was chosen: a phrase for people.
struct Plan {
  Algorithm algorithm;
  std::string_view reason;
};

/// The default plan.
Plan plan(const ConvShape& shape, std::int64_t kernels, DType dtype, Direction direction);

/// Forces one algorithm wherever it takes the shape, for tests and ablations; resets on destruction. Not for threads.
class ForceAlgorithm {
 public:
  explicit ForceAlgorithm(Algorithm algorithm);
  ~ForceAlgorithm();
  ForceAlgorithm(const ForceAlgorithm&) = delete;
  ForceAlgorithm& operator=(const ForceAlgorithm&) = delete;
};

/// output [N, OH, OW, O] = f ⊙ conv(x ⊙ c, Σ_k p_k s ⊙ W_k). weight [K, O, R, S, I/g].
template <class T>
void dynamic_forward(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                     const T* weight, T* output, Stream stream);

/// d_input (+)= dx_conv = c ⊙ conv_transpose(f ⊙ d_output, Σ_k q W_k) and, unless nullptr,
/// weighted_channel [N, I] = C = Σ_p x ⊙ dx_conv.
template <class T>
void dynamic_data_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                           const T* weight, const T* d_output, T* d_input, bool accumulate,
                           compute_type_t<T>* weighted_channel, Stream stream);

/// d_weight [K, O, R, S, I/g] (+)= Σ_n q_n D_n (unless nullptr), weighted_kernel [N, K] = Σ_t Q and
/// weighted_spatial [N, R·S] = Σ_k Q (unless nullptr, both or neither).
template <class T>
void dynamic_weight_gradient(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention,
                             const T* input, const T* weight, const T* d_output, compute_type_t<T>* d_weight,
                             bool accumulate, compute_type_t<T>* weighted_kernel, compute_type_t<T>* weighted_spatial,
                             Stream stream);

/// What the two gradients write; nullptr for what is not wanted.
template <class T>
struct DynamicGradients {
  T* d_input = nullptr;
  bool accumulate_input = false;
  compute_type_t<T>* weighted_channel = nullptr;  ///< wanted only together with d_input
  compute_type_t<T>* d_weight = nullptr;
  bool accumulate_weight = false;
  compute_type_t<T>* weighted_kernel = nullptr;
  compute_type_t<T>* weighted_spatial = nullptr;
};

/// dynamic_weight_gradient and dynamic_data_gradient, as far as wanted. Where C computes both on tensor cores, Q is a
/// by-product of the data gradient and not computed a second time.
template <class T>
void dynamic_gradients(const ConvShape& shape, const AttentionValues<compute_type_t<T>>& attention, const T* input,
                       const T* weight, const T* d_output, const DynamicGradients<T>& gradients, Stream stream);

}  // namespace omniconv::conv
