// Which parameters the optimizer treats alike.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/parameters.h"
#include "kernels/sgd.h"

namespace omniconv {

/// Which parameters are trained.
enum class TrainedPart {
  all,
  weights,    ///< all but the attention's
  attention,  ///< trunks and heads of the attention alone
};

/// The group of a parameter by its name: kinds that `no_decay` names ("bn": weight and bias of a norm; "bias": any
/// bias) are apart from the others, and the attention's from the rest.
std::function<std::size_t(const std::string& name)> parameter_groups(const ParameterStore& store,
                                                                     const std::vector<std::string>& no_decay);

/// The settings of those groups.
std::vector<kernels::SgdGroup> group_settings(double weight_decay, TrainedPart part);

}  // namespace omniconv
