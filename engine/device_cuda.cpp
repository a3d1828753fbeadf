#include <cuda_runtime.h>
#include <omp.h>

#include <cstdint>
#include <string_view>
#include <thread>
#include <utility>

#include "engine/check_cuda.h"
#include "engine/device.h"
#include "engine/device_check_cuda.h"
#include "kernels/error.h"

namespace omniconv {

namespace {

cudaStream_t handle_of(Stream stream) {
  return static_cast<cudaStream_t>(stream.handle);
}

// Non-blocking: work of other libraries on the default stream neither waits for ours nor makes it wait.
cudaStream_t create_stream() {
  require_device();
  cudaStream_t stream = nullptr;
  OMNICONV_CHECK_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}

}  // namespace

void check_cuda(cudaError_t status, const char* expression, const std::source_location& where) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  const std::string_view path = where.file_name();
  fail("cuda", "expected ", expression, " to succeed, got ", cudaGetErrorString(status), " (",
       path.substr(path.find_last_of('/') + 1), ':', where.line(), ')');
}

std::string device_kind() {
  return "cuda";
}

std::string device_name() {
  require_device();
  int device = 0;
  OMNICONV_CHECK_CUDA(cudaGetDevice(&device));
  cudaDeviceProp properties = {};
  OMNICONV_CHECK_CUDA(cudaGetDeviceProperties(&properties, device));
  return properties.name;
}

void require_device() {
  // Asked once when all is well; a failure is thrown again at every call.
  static const bool usable = [] {
    check_device(device_facts());
    return true;
  }();
  static_cast<void>(usable);
}

Stream main_stream() {
  // Never destroyed: CUDA may be gone before objects in static storage are.
  static const cudaStream_t stream = create_stream();
  return Stream(stream);
}

// While the stream is captured, what the host does would be missing from the graph, or the graph would read memory of
// the host that is no more when it runs.
void refuse_in_recording(const char* what) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  OMNICONV_CHECK_CUDA(cudaStreamIsCapturing(handle_of(main_stream()), &status));
  expect(status == cudaStreamCaptureStatusNone, "device", "expected launches and copies within the device, got ", what,
         ", which cannot be recorded");
}

std::optional<std::size_t> free_device_bytes() {
  require_device();
  std::size_t free = 0, total = 0;
  OMNICONV_CHECK_CUDA(cudaMemGetInfo(&free, &total));
  return free;
}

void synchronize() {
  refuse_in_recording("a wait");
  OMNICONV_CHECK_CUDA(cudaStreamSynchronize(handle_of(main_stream())));
}

void set_threads(int count) {
  expect(count >= 1 && count <= most_threads, "threads", "expected 1 to ", most_threads, " threads, got ", count);
  omp_set_num_threads(count);
}

int thread_count() {
  return omp_get_max_threads();
}

void copy_to_device(void* device_target, const void* host_source, std::size_t bytes) {
  refuse_in_recording("a copy from the host");
  if (bytes == 0) return;
  const cudaStream_t stream = handle_of(main_stream());
  OMNICONV_CHECK_CUDA(cudaMemcpyAsync(device_target, host_source, bytes, cudaMemcpyHostToDevice, stream));
  // The caller may free the source. The runtime copies a little of pageable memory aside before it returns; more, and
  // pinned memory, the device may read later.
  constexpr std::size_t little = 64 << 10;
  cudaPointerAttributes source = {};
  OMNICONV_CHECK_CUDA(cudaPointerGetAttributes(&source, host_source));
  if (bytes > little || source.type != cudaMemoryTypeUnregistered) OMNICONV_CHECK_CUDA(cudaStreamSynchronize(stream));
}

void copy_to_host(void* host_target, const void* device_source, std::size_t bytes) {
  refuse_in_recording("a copy to the host");
  if (bytes == 0) return;
  const cudaStream_t stream = handle_of(main_stream());
  OMNICONV_CHECK_CUDA(cudaMemcpyAsync(host_target, device_source, bytes, cudaMemcpyDeviceToHost, stream));
  OMNICONV_CHECK_CUDA(cudaStreamSynchronize(stream));
}

void copy_on_device(void* target, const void* source, std::size_t bytes, Stream stream) {
  if (bytes == 0) return;
  OMNICONV_CHECK_CUDA(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, handle_of(stream)));
}

void fill_zero(void* target, std::size_t bytes, Stream stream) {
  if (bytes == 0) return;
  OMNICONV_CHECK_CUDA(cudaMemsetAsync(target, 0, bytes, handle_of(stream)));
}

void delay_device(std::chrono::milliseconds pause) {
  const auto wait = [](void* milliseconds) {
    std::this_thread::sleep_for(std::chrono::milliseconds(reinterpret_cast<std::intptr_t>(milliseconds)));
  };
  OMNICONV_CHECK_CUDA(
      cudaLaunchHostFunc(handle_of(main_stream()), wait, reinterpret_cast<void*>(std::intptr_t{pause.count()})));
}

struct RecordedWork::State {
  State() = default;
  ~State() {
    if (graph != nullptr) cudaGraphDestroy(graph);
    if (executable != nullptr) cudaGraphExecDestroy(executable);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
};

RecordedWork::RecordedWork(const std::function<void()>& work) : state_(std::make_unique<State>()) {
  const cudaStream_t stream = handle_of(main_stream());
  // Relaxed: the allocator may ask for memory on the way.
  OMNICONV_CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  try {
    work();
  } catch (...) {
    if (cudaStreamEndCapture(stream, &state_->graph) != cudaSuccess) cudaGetLastError();
    throw;
  }
  OMNICONV_CHECK_CUDA(cudaStreamEndCapture(stream, &state_->graph));
  OMNICONV_CHECK_CUDA(cudaGraphInstantiate(&state_->executable, state_->graph, 0));
}

RecordedWork::~RecordedWork() = default;
RecordedWork::RecordedWork(RecordedWork&&) noexcept = default;
RecordedWork& RecordedWork::operator=(RecordedWork&&) noexcept = default;

void RecordedWork::queue() const {
  OMNICONV_CHECK_CUDA(cudaGraphLaunch(state_->executable, handle_of(main_stream())));
}

// cudaMalloc, not its stream-ordered sibling: blocks stay with the allocator, and taking one while a graph is being
// captured must not become a part of the graph.
void* device_malloc(std::size_t bytes) {
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // or the next kernel launch would report the lack of memory
    return nullptr;
  }
  OMNICONV_CHECK_CUDA(status);
  return memory;
}

// cudaFree waits for work that may still use the memory.
void device_free(void* memory) noexcept {
  if (cudaFree(memory) != cudaSuccess) cudaGetLastError();
}

std::shared_ptr<std::byte> allocate_host(std::size_t bytes) {
  require_device();
  void* memory = nullptr;
  OMNICONV_CHECK_CUDA(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault));
  return {static_cast<std::byte*>(memory), [](std::byte* pinned) { cudaFreeHost(pinned); }};
}

struct Event::State {
  State() { OMNICONV_CHECK_CUDA(cudaEventCreate(&event)); }
  ~State() { cudaEventDestroy(event); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  cudaEvent_t event = nullptr;
};

Event::Event() : state_(std::make_unique<State>()) {}
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;

void Event::record(Stream stream) {
  refuse_in_recording("a time");
  OMNICONV_CHECK_CUDA(cudaEventRecord(state_->event, handle_of(stream)));
}

void Event::wait() const {
  OMNICONV_CHECK_CUDA(cudaEventSynchronize(state_->event));
}

double Event::seconds_since(const Event& start) const {
  OMNICONV_CHECK_CUDA(cudaEventSynchronize(start.state_->event));
  OMNICONV_CHECK_CUDA(cudaEventSynchronize(state_->event));
  float milliseconds = 0;
  OMNICONV_CHECK_CUDA(cudaEventElapsedTime(&milliseconds, start.state_->event, state_->event));
  return milliseconds * 1e-3;
}

}  // namespace omniconv
