// Which operations run fused: by default those that gain on the device of the build. Tests and measurements put others
// together and take these apart.
#pragma once

#include <string_view>

namespace omniconv {

enum class Fusion {
  sgd,         ///< one launch of SGD over all parameters; else one for each of them
  attention,   ///< trunk and heads of an attention are one launch each way, on CUDA; else an operation for each of them
  statistics,  ///< the convolution before a norm leaves the moments of its output; else the norm makes a pass for them
  pool,        ///< a norm computes the pool that the next attention reads, and takes its gradient; else two passes more
  filter,      ///< a norm's backward sums the filter attention's gradient in the ODConv before it; else a pass more
};
inline constexpr Fusion all_fusions[] = {Fusion::sgd, Fusion::attention, Fusion::statistics, Fusion::pool,
                                         Fusion::filter};

/// As in the tables of `omniconv bench --ablate`.
std::string_view name_of(Fusion fusion);

bool fusion_enabled(Fusion fusion);

/// While it lives, this fusion is on, or the composed form runs instead; for tests and measurements. Not for threads.
class WithFusion {
 public:
  WithFusion(Fusion fusion, bool enabled);
  ~WithFusion();
  WithFusion(const WithFusion&) = delete;
  WithFusion& operator=(const WithFusion&) = delete;

 private:
  Fusion fusion_;
  bool before_;
};

}  // namespace omniconv
