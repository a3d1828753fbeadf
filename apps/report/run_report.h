// The page about one run, from its folder and its data.
#pragma once

#include <string>

namespace omniconv {

/// Writes run_page() of the run in `run_folder` to the file `out`, with what its checkpoint (the best one where there is
/// one) makes of the test images of `data`: a folder, "synthetic", or nothing for those that its config.json names.
/// Loads and evaluates it in f32. @throws Error for files, and data of other classes.
void write_run_report(const std::string& run_folder, const std::string& data, const std::string& out);

}  // namespace omniconv
