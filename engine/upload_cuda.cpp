#include <cuda_runtime.h>

#include "engine/allocator.h"
#include "engine/check_cuda.h"
#include "engine/device.h"
#include "engine/upload.h"

namespace omniconv {
namespace {

cudaStream_t main_handle() {
  return static_cast<cudaStream_t>(main_stream().handle);
}

/// That of all uploads. Never destroyed: CUDA may be gone before objects in static storage are.
cudaStream_t copy_stream() {
  static const cudaStream_t stream = [] {
    require_device();
    cudaStream_t created = nullptr;
    OMNICONV_CHECK_CUDA(cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking));
    return created;
  }();
  return stream;
}

/// A place in a stream that another stream, or the host, waits for.
class Mark {
 public:
  Mark() { OMNICONV_CHECK_CUDA(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }
  ~Mark() { cudaEventDestroy(event_); }
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;

  void set(cudaStream_t stream) { OMNICONV_CHECK_CUDA(cudaEventRecord(event_, stream)); }
  void hold(cudaStream_t stream) const { OMNICONV_CHECK_CUDA(cudaStreamWaitEvent(stream, event_, 0)); }
  cudaError_t wait() const { return cudaEventSynchronize(event_); }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

struct UploadSlot::State {
  // The allocator's blocks are safe in the order of the main stream: work queued there may still use this one.
  explicit State(std::size_t most_bytes) : host(allocate_host(most_bytes)), device(allocate(most_bytes)) { unused.set(main_handle()); }
  // Likewise, whoever gets the block next must not meet a copy of ours in it.
  ~State() { sent.wait(); }

  std::shared_ptr<std::byte> host;
  std::shared_ptr<void> device;
  std::size_t sent_bytes = 0;
  Mark sent;    // in the copy stream: the host's memory may be written, the device's be read
  Mark unused;  // in the main stream: the device's memory may be written
};

UploadSlot::UploadSlot(std::size_t most_bytes) : state_(std::make_unique<State>(most_bytes)) {}
UploadSlot::~UploadSlot() = default;

std::byte* UploadSlot::host_memory() const {
  OMNICONV_CHECK_CUDA(state_->sent.wait());
  return state_->host.get();
}

void UploadSlot::send(std::size_t bytes) const {
  const cudaStream_t stream = copy_stream();
  state_->unused.hold(stream);
  OMNICONV_CHECK_CUDA(
      cudaMemcpyAsync(state_->device.get(), state_->host.get(), bytes, cudaMemcpyHostToDevice, stream));
  state_->sent.set(stream);
  state_->sent_bytes = bytes;
}

void UploadSlot::receive(void* target) const {
  state_->sent.hold(main_handle());
  copy_on_device(target, state_->device.get(), state_->sent_bytes, main_stream());
  state_->unused.set(main_handle());
}

}  // namespace omniconv
