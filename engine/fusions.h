// Which operations run fused. All do by default; tests and measurements take them apart again.
#pragma once

#include <string_view>

namespace omniconv {

enum class Fusion {
  sgd,     ///< one launch of SGD over all parameters; else one for each of them
  pool,    ///< a norm computes the pool that the next attention reads, and takes its gradient; else two passes more
  filter,  ///< a norm's backward sums the filter attention's gradient in the ODConv before it; else a pass more
};
inline constexpr Fusion all_fusions[] = {Fusion::sgd, Fusion::pool, Fusion::filter};

/// As in the tables of `omniconv bench --ablate`.
std::string_view name_of(Fusion fusion);

bool fusion_enabled(Fusion fusion);

/// While it lives, the composed form runs instead of this fusion, for tests and measurements. Not for threads.
class WithoutFusion {
 public:
  explicit WithoutFusion(Fusion fusion);
  ~WithoutFusion();
  WithoutFusion(const WithoutFusion&) = delete;
  WithoutFusion& operator=(const WithoutFusion&) = delete;

 private:
  Fusion fusion_;
  bool before_;
};

}  // namespace omniconv
