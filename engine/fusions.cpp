#include "engine/fusions.h"

#include <array>
#include <iterator>
#include <utility>

#include "kernels/simt/config.h"

namespace omniconv {
namespace {

/// What fuses launches into one that meets at barriers loses on the CPU, where a launch is cheap and a barrier is not.
constexpr bool gains(Fusion fusion) {
  return OMNICONV_CUDA || fusion != Fusion::attention;
}

std::array<bool, std::size(all_fusions)> enabled = [] {
  std::array<bool, std::size(all_fusions)> result{};
  for (const Fusion fusion : all_fusions) result[static_cast<std::size_t>(fusion)] = gains(fusion);
  return result;
}();

bool& is_enabled(Fusion fusion) {
  return enabled[static_cast<std::size_t>(fusion)];
}

}  // namespace

std::string_view name_of(Fusion fusion) {
  switch (fusion) {
    case Fusion::sgd:
      return "sgd";
    case Fusion::attention:
      return "attention";
    case Fusion::statistics:
      return "statistics";
    case Fusion::pool:
      return "pool";
    case Fusion::filter:
      return "filter";
  }
  return "unknown";
}

bool fusion_enabled(Fusion fusion) {
  return is_enabled(fusion);
}

WithFusion::WithFusion(Fusion fusion, bool enabled)
    : fusion_(fusion), before_(std::exchange(is_enabled(fusion), enabled)) {}

WithFusion::~WithFusion() {
  is_enabled(fusion_) = before_;
}

}  // namespace omniconv
