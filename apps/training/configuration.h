// Where the values of a recipe come from: defaults, a preset, a file, the command line; the later, the stronger.
#pragma once

#include <string>
#include <vector>

#include "apps/training/options.h"

namespace omniconv {

/// Names of the presets of --recipe, and what each changes, as keys of config.json.
const std::vector<std::string>& recipe_presets();
nlohmann::json recipe_preset(const std::string& name);

/// Fills in what the call did not name itself: from the preset, from the file of --config, and the stages. What they
/// name counts as given. `run` is the recipe of the run that goes on, or nullptr: for a new run what the call named
/// must have a use, see check_uses().
/// @throws UsageError for an unknown preset or contradictions, Error naming the file and its first fault.
void apply_configuration(TrainOptions& options, const Recipe* run);

}  // namespace omniconv
