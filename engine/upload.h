// Bytes on their way from the host to the device while it works on those before them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace omniconv {

/// One of the two ways of an Upload: memory of the host and of the device, and what was sent last from one to the
/// other. upload_cpu.cpp or upload_cuda.cpp implements it.
class UploadSlot {
 public:
  explicit UploadSlot(std::size_t most_bytes);
  ~UploadSlot();
  UploadSlot(const UploadSlot&) = delete;
  UploadSlot& operator=(const UploadSlot&) = delete;

  /// Where the host writes; waits until what was sent from there before has left.
  std::byte* host_memory() const;
  /// Starts to copy the first `bytes`, beside the work of the main stream.
  void send(std::size_t bytes) const;
  /// Copies what was sent to `target` on the device, in the order of the main stream.
  void receive(void* target) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Copies from the host that run beside the work of the main stream, up to two at a time: on CUDA through pinned memory
/// and a stream of their own. What is sent is received in the same order. Nothing of it can be recorded
/// (engine/device.h): receive between recorded steps, to the place where they read.
class Upload {
 public:
  /// For at most `most_bytes` bytes at a time. @throws Error for none.
  explicit Upload(std::size_t most_bytes);

  /// Lets `write` fill memory of the host with `bytes` bytes and starts to copy them. If it throws, nothing is sent.
  /// @throws Error if two are under way already.
  void send(std::size_t bytes, const std::function<void(std::byte*)>& write);
  /// Work that is queued on the main stream from now on finds at `target`, device memory, what was sent first of all
  /// that was not received yet. @throws Error if there is nothing.
  void receive(void* target);
  /// Nobody will receive what is under way.
  void discard() { received_ = sent_; }
  std::int64_t under_way() const { return sent_ - received_; }

 private:
  const UploadSlot& slot(std::int64_t number) const { return slots_[number % 2]; }

  std::size_t most_bytes_;
  UploadSlot slots_[2];
  std::int64_t sent_ = 0, received_ = 0;
};

}  // namespace omniconv
