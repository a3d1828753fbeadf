// The page about one run, from its folder and its data.
#pragma once

#include <string>

#include "apps/report/run_record.h"

namespace omniconv {

/// run_page() of the run, with what its checkpoint (the best one where there is one) makes of the test images of
/// `data`, a folder or "synthetic". Loads and evaluates it in f32. @throws Error for files, and data of other classes.
std::string run_report(const RunRecord& run, const std::string& data);

}  // namespace omniconv
