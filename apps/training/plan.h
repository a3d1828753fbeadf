// What a run would be, for --dry-run.
#pragma once

#include <string>
#include <vector>

#include "apps/training/trainer.h"

namespace omniconv {

/// Bytes of tensors at most, as the allocator counts, in a training step. Measured: forward and backward passes over
/// black images in two small batches show what an image costs. No weight changes, but running statistics do.
std::int64_t estimate_peak_bytes(const Recipe& recipe, Trainer& trainer);

/// The model as a table, its memory and its schedule.
std::vector<std::string> plan_lines(const Recipe& recipe, const Trainer& trainer, std::int64_t peak_bytes);

}  // namespace omniconv
