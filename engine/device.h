// The device of this build: its memory, its queue of work, its clock.
//
// A build has one device (`cpu` or `cuda`); device_cpu.cpp or device_cuda.cpp implements this header.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "kernels/simt/stream.h"

namespace omniconv {

/// "cpu" or "cuda": the device this build computes on.
std::string device_kind();

/// Human-readable name of the device, such as the GPU's model or the CPU's.
std::string device_name();

/// Throws Error when the device cannot be used here (a CUDA build without a GPU or with a driver too old);
/// the message names the remedy.
void require_device();

/// The queue on which the engine works. Owned by the engine.
Stream main_stream();

/// Waits for everything queued on the main stream. @throws Error with the device's own message.
void synchronize();

inline constexpr int most_threads = 1024;
/// Number of host threads the engine may use; results do not depend on it. @throws Error unless it is 1 to
/// most_threads.
void set_threads(int count);
int thread_count();

/// Copies `bytes` from host to device, from device to host (both return when the host memory may be reused or
/// read), or within the device (in stream order).
void copy_to_device(void* device_target, const void* host_source, std::size_t bytes);
void copy_to_host(void* host_target, const void* device_source, std::size_t bytes);
void copy_on_device(void* target, const void* source, std::size_t bytes, Stream stream);

/// Sets `bytes` bytes to zero in stream order.
void fill_zero(void* target, std::size_t bytes, Stream stream);

/// Queues a pause on the main stream, in which the host runs ahead: what is queued next runs without waiting for it. On
/// the CPU, where the host is the device, nothing.
void delay_device(std::chrono::milliseconds pause);

/// Work that is queued in one piece, as often as wanted: a CUDA graph, or on the CPU the list of its launches.
class RecordedWork {
 public:
  /// Calls `work` and records what it queues on the main stream instead of doing it. Arguments of kernels and addresses
  /// are those of now, contents of memory those of each queue(). @throws Error for what only the host can do, such as a
  /// copy from or to it, on the CPU for work of oneDNN, and for what `work` throws.
  explicit RecordedWork(const std::function<void()>& work);
  ~RecordedWork();
  RecordedWork(RecordedWork&&) noexcept;
  RecordedWork& operator=(RecordedWork&&) noexcept;

  void queue() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// @throws Error while work is recorded: `what` would be missing from the record.
void refuse_in_recording(const char* what);

/// Bytes that the device could still give; nothing where its memory is the host's.
std::optional<std::size_t> free_device_bytes();

/// Raw device memory, aligned to 256 bytes; nullptr when there is none left. Used by the allocator only. @throws Error
/// for what else the device reports, such as the fault of an earlier kernel.
void* device_malloc(std::size_t bytes);
void device_free(void* memory) noexcept;

/// Memory of the host that the device copies to and from by itself: pinned on CUDA. @throws Error if there is none left.
std::shared_ptr<std::byte> allocate_host(std::size_t bytes);

/// A moment in the device's queue, for timing.
class Event {
 public:
  Event();
  ~Event();
  Event(Event&&) noexcept;
  Event& operator=(Event&&) noexcept;

  void record(Stream stream);
  /// Until the device has come there; at once if it was never recorded.
  void wait() const;
  /// Seconds from `start` to this event; waits for both.
  double seconds_since(const Event& start) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Seconds that the device takes for what `work()` queues on the main stream; waits for it.
template <class Work>
double seconds_of(const Work& work) {
  Event begin, end;
  begin.record(main_stream());
  work();
  end.record(main_stream());
  return end.seconds_since(begin);
}

}  // namespace omniconv
