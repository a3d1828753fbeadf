// A convolution whose weights stay as they are: what depends on them alone is done once, for inference.
#pragma once

#include "engine/conv/epilogue.h"
#include "engine/tensor.h"
#include "kernels/conv_shape.h"
#include "kernels/simt/stream.h"
#if !OMNICONV_CUDA
#include "engine/conv/blocked_cpu.h"
#endif

namespace omniconv::conv {

/// A static or dynamic convolution, prepared. T is f32 or f64.
template <class T>
class PreparedConv {
 public:
  /// `shape` is that of any number of samples; weight [K, O, R, S, I/g] must not change afterwards.
  PreparedConv(const ConvShape& shape, std::int64_t kernels, Tensor weight);

  /// output [N, OH, OW, O] = epilogue(f ⊙ conv(x ⊙ c, Σ_k p_k s ⊙ W_k)) for N = `samples`; without attention and with
  /// K = 1 a static convolution.
  void run(std::int64_t samples, const AttentionValues<T>& attention, const T* input, const Epilogue<T>& epilogue,
           T* output, Stream stream) const;

 private:
  ConvShape shape_;
  Tensor weight_;
  std::int64_t kernels_;
#if !OMNICONV_CUDA
  // Of f32: either is.
  PackedSlices packed_;
  Tensor streamed_;
#endif
};

}  // namespace omniconv::conv
