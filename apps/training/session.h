// One `omniconv train` call: a new run or one that goes on.
#pragma once

#include <cstdio>

#include "apps/training/options.h"

namespace omniconv {

/// Checks everything before the first file is touched, trains, and tells `people` about it; with `options.json` one
/// object with the outcome goes to `machines`. Returns the exit code: 0, or 128 + N where signal N ended the run.
/// @throws UsageError for impossible or contradictory options, Error for files, data and devices.
int train(const TrainOptions& options, std::FILE* people, std::FILE* machines);

}  // namespace omniconv
