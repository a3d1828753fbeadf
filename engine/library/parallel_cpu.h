// OpenMP loops around single-threaded library calls.
//
// A library that splits work by the number of threads rounds differently with each number. Here work is split by shape
// into units, each unit is computed by one thread that calls the library as if it were alone.
#pragma once

#include <omp.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <vector>

#include "kernels/simt/recording.h"

namespace omniconv::library {

/// body(unit) for unit in [0, units), on all threads, units handed out one by one; the first exception (by unit) is
/// rethrown. Inside, oneDNN sees one thread.
template <class Body>
void parallel_units(std::int64_t units, const Body& body) {
  simt::refuse_in_recording("library", "work of oneDNN");
  std::exception_ptr failure;
  std::int64_t failed_unit = units;
#pragma omp parallel
  {
    omp_set_num_threads(1);
#pragma omp for schedule(dynamic)
    for (std::int64_t unit = 0; unit < units; ++unit) {
      try {
        body(unit);
      } catch (...) {
#pragma omp critical(omniconv_parallel_units)
        if (unit < failed_unit) {
          failed_unit = unit;
          failure = std::current_exception();
        }
      }
    }
  }
  if (failure) std::rethrow_exception(failure);
}

/// A thread's scratch memory: a few growing buffers of floats, aligned for vectors and reused from call to call.
class ThreadScratch {
 public:
  enum Slot { aggregated, source, destination, gradient, panel, slot_count };

  static float* get(Slot slot, std::int64_t count) {
    thread_local ThreadScratch scratch;
    Buffer& buffer = scratch.buffers_[slot];
    if (buffer.count < count) {
      buffer.memory.reset(static_cast<float*>(::operator new[](static_cast<std::size_t>(count) * sizeof(float),
                                                               std::align_val_t{alignment})));
      buffer.count = count;
    }
    return buffer.memory.get();
  }

 private:
  static constexpr std::size_t alignment = 64;
  struct Release {
    void operator()(float* memory) const { ::operator delete[](memory, std::align_val_t{alignment}); }
  };
  struct Buffer {
    std::unique_ptr<float[], Release> memory;
    std::int64_t count = 0;
  };
  Buffer buffers_[slot_count];
};

}  // namespace omniconv::library
