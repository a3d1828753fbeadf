#include "engine/fusions.h"

#include <array>
#include <iterator>
#include <utility>

namespace omniconv {
namespace {

std::array<bool, std::size(all_fusions)> disabled{};

bool& is_disabled(Fusion fusion) {
  return disabled[static_cast<std::size_t>(fusion)];
}

}  // namespace

std::string_view name_of(Fusion fusion) {
  switch (fusion) {
    case Fusion::sgd:
      return "sgd";
    case Fusion::pool:
      return "pool";
    case Fusion::filter:
      return "filter";
  }
  return "unknown";
}

bool fusion_enabled(Fusion fusion) {
  return !is_disabled(fusion);
}

WithoutFusion::WithoutFusion(Fusion fusion) : fusion_(fusion), before_(std::exchange(is_disabled(fusion), true)) {}

WithoutFusion::~WithoutFusion() {
  is_disabled(fusion_) = before_;
}

}  // namespace omniconv
