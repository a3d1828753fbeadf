// Plans of the dynamic convolutions by measurement: --autotune.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "apps/training/progress.h"
#include "apps/training/recipe.h"
#include "engine/conv/plan.h"

namespace omniconv {

/// What --help says of it.
inline constexpr const char* autotune_help =
    "Measure first which algorithm of each dynamic convolution is the fastest here";

/// Trains a model of the recipe, made for this and thrown away, for a few steps under each algorithm that may be the
/// fastest, and returns the fastest of each convolution and direction. What does not fit into memory is left out.
conv::MeasuredPlans autotune(const Recipe& recipe, Console& console);

/// Plans as resume.safetensors holds them, and back. @throws Error naming `source`.
nlohmann::json plans_to_json(const conv::MeasuredPlans& plans);
conv::MeasuredPlans plans_from_json(const nlohmann::json& json, const std::string& source);

}  // namespace omniconv
