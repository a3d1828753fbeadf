// A run as TensorBoard shows it.
#pragma once

#include <memory>

#include "apps/training/observer.h"

namespace omniconv {

/// @throws Error that says what to install unless this build can write event files.
void expect_tensorboard();

/// Writes an event file of its own into the run's folder:
///   step/...       the fields of StepMetrics, at every look
///   epoch/...      the numbers of each line of metrics.jsonl, under its keys; those of a stop within an epoch stay
///   attention/...  a heat map per layer and attention, LAYER.ATTENTION, over the first images of those evaluated; after
///                  at most `most_maps` epochs of a run, evenly spaced, the last among them
/// What earlier files hold beyond the step that the run goes on from no longer counts.
std::unique_ptr<RunObserver> make_run_events(const ObservedRun& run);

inline constexpr std::int64_t most_maps = 20;
inline constexpr std::int64_t map_images = 300;  ///< the images of a heat map

}  // namespace omniconv
