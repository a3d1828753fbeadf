// What inference does with a convolution's result on its way to memory.
#pragma once

namespace omniconv::conv {

/// output = relu?(y ⊙ scale + shift + residual), each part only where it is given. y, residual, output [N, OH, OW, O].
template <class T>
struct Epilogue {
  const T* scale = nullptr;     // [O]
  const T* shift = nullptr;     // [O]
  const T* residual = nullptr;  // like the output
  bool relu = false;

  bool empty() const { return !scale && !shift && !residual && !relu; }
};

}  // namespace omniconv::conv
