// Who else hears how a run goes, besides the console and the files of its folder.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "apps/training/dataset.h"
#include "apps/training/metrics.h"
#include "models/resnet.h"

namespace omniconv {

/// Steps between two looks at the device, which are some tenths of a second apart, or a step where one takes longer.
struct StepMetrics {
  std::int64_t step = 0;     ///< the last of them, from 1
  double loss = 0;           ///< mean over the steps
  double accuracy = 0;       ///< over their images
  double lr = 0;             ///< of the last one
  double temperature = 0;    ///< of the last one
  double images_per_second = 0;  ///< of the epoch so far, training alone
};

class RunObserver {
 public:
  virtual ~RunObserver() = default;

  virtual void on_steps(const StepMetrics& metrics) = 0;
  /// After an evaluation: its metrics, the model as it was evaluated, and the images that `best` is chosen on.
  virtual void on_epoch(const EpochMetrics& metrics, const Model& model, const Dataset& images) = 0;
};

/// What an observer has to know of the run that starts or goes on.
struct ObservedRun {
  std::string folder;
  std::int64_t finished_steps = 0;
  std::int64_t epochs = 0;
};
using MakeObserver = std::function<std::unique_ptr<RunObserver>(const ObservedRun&)>;

}  // namespace omniconv
