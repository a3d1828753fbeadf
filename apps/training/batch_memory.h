// What to do when a batch does not fit into the device's memory.
#pragma once

#include <cstdint>
#include <string>

#include "engine/allocator.h"

namespace omniconv {

/// Runs `work`, which computes batches of `batch_size`. @throws OutOfMemory with the batch size to try next.
template <class Work>
decltype(auto) within_memory(std::int64_t batch_size, Work&& work) {
  try {
    return work();
  } catch (const OutOfMemory& error) {
    // Activations, which go with the batch, are nearly all of the memory; half of them is as good a guess as any.
    throw error.with_remedy(batch_size > 1 ? concat("try --batch-size ", batch_size / 2)
                                           : std::string("try a smaller --width or a device with more memory"));
  }
}

}  // namespace omniconv
