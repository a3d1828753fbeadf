// The same training with several seeds, and what its figures say together.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "apps/training/options.h"

namespace omniconv {

/// The test accuracy of finished runs by their seed, as fractions of 1: of the best epoch where it was chosen by
/// validation, else of the last epoch, which was not chosen.
using AccuracyBySeed = std::map<std::int64_t, double>;

/// Folder of the run with `seed` in the folder of a series.
std::string seed_folder(const std::string& series, std::int64_t seed);

/// The accuracies in `path`, a run's folder or that of a series. @throws Error for anything else, for a run that is not
/// finished, and for two with the same seed.
AccuracyBySeed read_accuracies(const std::string& path);

/// Runs with a seed in common, compared seed by seed.
struct PairedComparison {
  std::string other;
  std::int64_t pairs = 0;
  double mean = 0;       ///< of the differences to the other's accuracies
  double standard_deviation = 0;  ///< of the differences
  double p_value = 1;    ///< sign_flip_p_value()
};
/// @throws Error naming `path` where no seed is in both.
PairedComparison compare(const AccuracyBySeed& accuracies, const std::string& path);

}  // namespace omniconv
