#include "apps/training/mixing.h"

#include <algorithm>
#include <cmath>

#include "data/draws.h"

namespace omniconv {
namespace {

/// Beta(alpha, alpha) by Jöhnk's method, in logarithms, because u^(1/alpha) underflows for a small alpha.
double draw_beta(Draws& draws, double alpha) {
  for (;;) {
    const double a = std::log(1 - draws.uniform()) / alpha, b = std::log(1 - draws.uniform()) / alpha;
    if (std::exp(a) + std::exp(b) > 1) continue;
    return 1 / (1 + std::exp(b - a));
  }
}

/// A box of the part `area` of the image around a point anywhere in it; what lies outside is cut off.
kernels::Mix draw_box(Draws& draws, double area, std::int64_t image_extent) {
  const auto last = static_cast<double>(image_extent);
  const double extent = std::floor(last * std::sqrt(area)), half = std::floor(extent / 2);
  const auto y = static_cast<double>(draws.below(image_extent)), x = static_cast<double>(draws.below(image_extent));
  kernels::Mix mix;
  mix.top = std::max(0.0, y - half);
  mix.left = std::max(0.0, x - half);
  mix.bottom = std::min(last, y - half + extent);
  mix.right = std::min(last, x - half + extent);
  mix.own_share = 1 - (mix.bottom - mix.top) * (mix.right - mix.left) / (last * last);
  return mix;
}

}  // namespace

kernels::Mix draw_mix(const Mixing& mixing, std::int64_t extent, std::uint64_t seed, std::int64_t finished_steps) {
  Draws draws(seed, DrawPurpose::mixing, static_cast<std::uint64_t>(finished_steps));
  const bool boxes = mixing.cutmix > 0 && (mixing.mixup == 0 || draws.below(2) == 0);
  if (boxes) return draw_box(draws, 1 - draw_beta(draws, mixing.cutmix), extent);
  kernels::Mix mix;
  mix.own_share = draw_beta(draws, mixing.mixup);
  return mix;
}

}  // namespace omniconv
