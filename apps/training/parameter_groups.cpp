#include "apps/training/parameter_groups.h"

#include <algorithm>
#include <set>

namespace omniconv {
namespace {

// A group's number is a sum of these.
constexpr std::size_t without_decay = 1, of_attention = 2, group_count = 4;

/// Names of the norms of a model, with their trailing dots: what has running statistics.
std::set<std::string> norms_of(const ParameterStore& store) {
  const std::string buffer = "running_mean";
  std::set<std::string> norms;
  for (const ParameterStore::Entry& entry : store.entries())
    if (const std::string& name = entry.spec.name; name.ends_with("." + buffer))
      norms.insert(name.substr(0, name.size() - buffer.size()));
  return norms;
}

}  // namespace

std::function<std::size_t(const std::string&)> parameter_groups(const ParameterStore& store,
                                                                const std::vector<std::string>& no_decay) {
  const auto names = [&](const char* kind) {
    return std::find(no_decay.begin(), no_decay.end(), kind) != no_decay.end();
  };
  return [norms = norms_of(store), norm = names("bn"), bias = names("bias")](const std::string& name) {
    const bool of_norm = norms.contains(name.substr(0, name.rfind('.') + 1));
    const bool spared = (norm && of_norm) || (bias && name.ends_with(".bias"));
    const bool attention = name.find(".attention.") != std::string::npos;
    return (spared ? without_decay : 0) + (attention ? of_attention : 0);
  };
}

std::vector<kernels::SgdGroup> group_settings(double weight_decay, TrainedPart part) {
  std::vector<kernels::SgdGroup> settings;
  for (std::size_t group = 0; group < group_count; ++group) {
    const bool attention = (group & of_attention) != 0;
    const bool trained = part == TrainedPart::all || attention == (part == TrainedPart::attention);
    settings.push_back({(group & without_decay) != 0 ? 0 : weight_decay, trained ? 1 : 0});
  }
  return settings;
}

}  // namespace omniconv
