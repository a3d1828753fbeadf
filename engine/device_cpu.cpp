#include <omp.h>
#include <sys/mman.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "engine/device.h"
#include "kernels/error.h"
#include "kernels/simt/recording.h"

namespace omniconv {

std::string device_kind() { return "cpu"; }

std::string device_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "CPU";
}

void require_device() {}

Stream main_stream() { return Stream(nullptr); }

void refuse_in_recording(const char* what) { simt::refuse_in_recording("device", what); }

std::optional<std::size_t> free_device_bytes() { return std::nullopt; }

void synchronize() {
  refuse_in_recording("a wait");
}

void set_threads(int count) {
  expect(count >= 1 && count <= most_threads, "threads", "expected 1 to ", most_threads, " threads, got ", count);
  omp_set_num_threads(count);
}

int thread_count() { return omp_get_max_threads(); }

void copy_to_device(void* device_target, const void* host_source, std::size_t bytes) {
  refuse_in_recording("a copy from the host");
  if (bytes > 0) std::memcpy(device_target, host_source, bytes);
}

void copy_to_host(void* host_target, const void* device_source, std::size_t bytes) {
  refuse_in_recording("a copy to the host");
  if (bytes > 0) std::memcpy(host_target, device_source, bytes);
}

void copy_on_device(void* target, const void* source, std::size_t bytes, Stream stream) {
  if (simt::Recording* const recording = simt::Recording::in_progress())
    return recording->add([=] { copy_on_device(target, source, bytes, stream); });
  if (bytes > 0) std::memcpy(target, source, bytes);
}

void fill_zero(void* target, std::size_t bytes, Stream stream) {
  if (simt::Recording* const recording = simt::Recording::in_progress())
    return recording->add([=] { fill_zero(target, bytes, stream); });
  if (bytes > 0) std::memset(target, 0, bytes);
}

struct RecordedWork::State {
  simt::Recording recording;
};

void delay_device(std::chrono::milliseconds) {}

RecordedWork::RecordedWork(const std::function<void()>& work) : state_(new State{simt::Recording(work)}) {}
RecordedWork::~RecordedWork() = default;
RecordedWork::RecordedWork(RecordedWork&&) noexcept = default;
RecordedWork& RecordedWork::operator=(RecordedWork&&) noexcept = default;

void RecordedWork::queue() const {
  state_->recording.run();
}

void* device_malloc(std::size_t bytes) {
  constexpr std::size_t alignment = 256, huge_page = std::size_t{2} << 20;
  const bool large = bytes >= huge_page;
  void* memory = nullptr;
  if (posix_memalign(&memory, large ? huge_page : alignment, bytes) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
  // Kernels of a dynamic convolution are read as fast as memory gives them: an eighth faster without page walks.
  if (large) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
}

void device_free(void* memory) noexcept { std::free(memory); }

std::shared_ptr<std::byte> allocate_host(std::size_t bytes) {
  return std::shared_ptr<std::byte>(new std::byte[bytes], std::default_delete<std::byte[]>());
}

struct Event::State {
  std::chrono::steady_clock::time_point time;
};

Event::Event() : state_(std::make_unique<State>()) {}
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;

void Event::record(Stream) {
  refuse_in_recording("a time");
  state_->time = std::chrono::steady_clock::now();
}

void Event::wait() const {}

double Event::seconds_since(const Event& start) const {
  return std::chrono::duration<double>(state_->time - start.state_->time).count();
}

}  // namespace omniconv
