// oneDNN's convolutions on channels-last activations, single-threaded, with weights in the library's own layout.
#pragma once

#include <memory>
#include <vector>

#include "kernels/conv_shape.h"

namespace omniconv::library {

/// A stretch of packed weights that belong to one tap.
struct TapRun {
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::int64_t tap = 0;
};

/// One direction of one convolution. `shape.samples` is the minibatch of a call.
class PackedConv {
 public:
  enum class Direction { forward, data_gradient, weight_gradient };

  /// This thread's primitive for the shape, made at the first call. Call it where the library sees one thread
  /// (parallel_units). @throws Error when the library has no such convolution.
  static PackedConv& get(Direction direction, const ConvShape& shape);

  /// Floats of the packed weights (of the packed gradient for weight_gradient).
  std::int64_t packed_count() const { return packed_count_; }
  /// The packed layout, tap by tap, in order of `first`. Padding within the layout is zero and counts as tap 0.
  const std::vector<TapRun>& runs() const { return runs_; }

  /// Weights between [O, R, S, I/g] with `row` elements from one (o, r, s) to the next, and the packed layout.
  void pack(const float* weight, std::int64_t row, float* packed) const;
  void unpack(const float* packed, float* weight, std::int64_t row) const;

  /// forward: source = input, destination = output; data_gradient: source = d_output, destination = d_input, both with
  /// packed weights; weight_gradient: source = input, destination = d_output (read), packed = the gradient (written).
  void run(const float* source, float* packed, float* destination) const;

  ~PackedConv();

 private:
  PackedConv(Direction direction, const ConvShape& shape);
  void find_runs();

  struct State;
  std::unique_ptr<State> state_;
  ConvShape shape_;
  std::int64_t packed_count_ = 0;
  std::vector<TapRun> runs_;
};

}  // namespace omniconv::library
