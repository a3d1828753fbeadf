// What changes from one step of training to the next besides the weights, on the device: so that all steps of one shape
// are the same work.
#pragma once

#include <cstdint>

#include "kernels/augment.h"
#include "kernels/simt/stream.h"

namespace omniconv::kernels {

/// A row of the table that is made for an epoch.
struct StepValues {
  double learning_rate = 0;
  double temperature = 1;
  double average_decay = 0;  ///< of the weights' moving average
  std::int64_t epoch = 0;    ///< what augmentation varies images by
  std::int64_t pass = 0;     ///< forward passes before the step's first: what dropout draws by
  std::int64_t first = 0;    ///< of its images in the order of the epoch
  Mix mix;                   ///< how its images are mixed
};

/// Where a step reads its values, in device memory; nullptr for one that it does not read.
struct StepTargets {
  double* learning_rate = nullptr;
  double* temperature = nullptr;
  double* average_decay = nullptr;
  std::int64_t* epoch = nullptr;
  std::int64_t* pass = nullptr;
  Mix* mix = nullptr;
  std::int32_t* images = nullptr;  ///< [samples], out of the order
};

/// The values of the step at *position of the table, and its images order[first + i] for i < samples, to where the step
/// reads them. table, position and order (i32) lie in device memory.
void begin_step(const StepValues* table, const std::int64_t* position, const std::int32_t* order, std::int64_t samples,
                const StepTargets& targets, Stream stream);

/// losses[*position] = *loss, then ++*position.
template <class T>
void finish_step(const T* loss, T* losses, std::int64_t* position, Stream stream);

/// ++*counter, on the device.
void advance(std::int64_t* counter, Stream stream);

}  // namespace omniconv::kernels
