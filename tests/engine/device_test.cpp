// The device of the build and the allocator above it.
#include "engine/device.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/allocator.h"
#include "kernels/error.h"
#include "tests/catch.h"
#include "tests/settings.h"

#if OMNICONV_CUDA
#include "engine/check_cuda.h"
#include "engine/device_check_cuda.h"
#include "engine/device_code_cuda.h"
#include "engine/library/cudnn_cuda.h"
#endif

// Tests that need the device of the build.
#if OMNICONV_CUDA
#define ON_DEVICE "[device][cuda]"
#else
#define ON_DEVICE "[device]"
#endif

namespace omniconv::test {
namespace {

template <class Work>
std::string error_of(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

std::vector<std::uint8_t> counted(std::size_t bytes) {
  std::vector<std::uint8_t> values(bytes);
  for (std::size_t i = 0; i < bytes; ++i) values[i] = static_cast<std::uint8_t>(i * 7 + 1);
  return values;
}

std::vector<std::uint8_t> on_host(const void* memory, std::size_t bytes) {
  std::vector<std::uint8_t> values(bytes, 0xAA);
  copy_to_host(values.data(), memory, bytes);
  return values;
}

TEST_CASE("the device says its kind", "[device]") {
  CHECK(device_kind() == (OMNICONV_CUDA ? "cuda" : "cpu"));
}

TEST_CASE("a device that cannot be used says so in one line with the remedy", "[device]") {
  const std::string error = error_of([] { require_device(); });
  CAPTURE(error);
  if (!error.empty()) {
    CHECK_THAT(error, StartsWith("[device] expected ") && ContainsSubstring("build with -D"));
    CHECK(std::count(error.begin(), error.end(), '\n') == 0);
    CHECK(error_of([] { require_device(); }) == error);
    CHECK(error_of([] { main_stream(); }) == error);
  }
}

TEST_CASE("the device has a name", ON_DEVICE) {
  CHECK_NOTHROW(require_device());
  CHECK_FALSE(device_name().empty());
}

TEST_CASE("memory makes the round trip", ON_DEVICE) {
  const std::size_t bytes = GENERATE(1, 255, 4096, 100000);
  const auto values = counted(bytes);
  const auto memory = allocate(bytes);
  CHECK(reinterpret_cast<std::uintptr_t>(memory.get()) % 256 == 0);
  {
    auto source = values;
    copy_to_device(memory.get(), source.data(), bytes);
    std::fill(source.begin(), source.end(), std::uint8_t{0});  // the copy is the device's own
  }
  CHECK(on_host(memory.get(), bytes) == values);
}

TEST_CASE("copies of no bytes touch nothing", ON_DEVICE) {
  CHECK_NOTHROW(copy_to_device(nullptr, nullptr, 0));
  CHECK_NOTHROW(copy_to_host(nullptr, nullptr, 0));
  CHECK_NOTHROW(copy_on_device(nullptr, nullptr, 0, main_stream()));
  CHECK_NOTHROW(fill_zero(nullptr, 0, main_stream()));
}

TEST_CASE("fill_zero and copy_on_device change the bytes named and no others", ON_DEVICE) {
  const std::size_t bytes = 1000;
  auto expected = counted(bytes);
  const auto memory = allocate(bytes), other = allocate(bytes);
  copy_to_device(memory.get(), expected.data(), bytes);
  copy_to_device(other.get(), expected.data(), bytes);

  auto* target = static_cast<std::uint8_t*>(memory.get());
  fill_zero(target + 10, 100, main_stream());
  copy_on_device(target + 500, static_cast<std::uint8_t*>(other.get()) + 1, 300, main_stream());
  synchronize();

  const auto before = expected;
  std::fill(expected.begin() + 10, expected.begin() + 110, std::uint8_t{0});
  std::copy(before.begin() + 1, before.begin() + 301, expected.begin() + 500);
  CHECK(on_host(memory.get(), bytes) == expected);
}

TEST_CASE("events lie in the order of the work", ON_DEVICE) {
  const std::size_t bytes = std::size_t{1} << 22;
  const auto memory = allocate(bytes);
  Event first, second, third;
  first.record(main_stream());
  fill_zero(memory.get(), bytes, main_stream());
  second.record(main_stream());
  fill_zero(memory.get(), bytes, main_stream());
  third.record(main_stream());
  CHECK(second.seconds_since(first) > 0);
  CHECK(third.seconds_since(second) > 0);
  CHECK(third.seconds_since(first) >= second.seconds_since(first));
  CHECK(third.seconds_since(first) < 60);

  Event moved = std::move(third);
  CHECK(moved.seconds_since(first) > 0);

  bool ran = false;
  const double seconds = seconds_of([&] {
    fill_zero(memory.get(), bytes, main_stream());
    ran = true;
  });
  CHECK(ran);
  CHECK((seconds > 0 && seconds < 60));
}

TEST_CASE("a freed block is handed out again", ON_DEVICE) {
  const WithMemoryCaching caching(true);
  release_cached_memory();
  auto block = allocate(10000);
  void* const address = block.get();
  const auto before = memory_statistics();
  block.reset();
  const auto freed = memory_statistics();
  CHECK(freed.in_use_bytes + 10000 <= before.in_use_bytes);
  CHECK(freed.cached_bytes - before.cached_bytes == before.in_use_bytes - freed.in_use_bytes);

  block = allocate(10001);  // slightly more, in the same rounded size
  CHECK(block.get() == address);
  CHECK(memory_statistics().in_use_bytes == before.in_use_bytes);
  CHECK(memory_statistics().cached_bytes == before.cached_bytes);

  const auto other = allocate(10000);
  CHECK(other.get() != address);
}

TEST_CASE("a block that is in use is nobody else's", ON_DEVICE) {
  std::vector<std::shared_ptr<void>> blocks;
  for (int i = 0; i < 8; ++i) {
    blocks.push_back(allocate(300));
    fill_zero(blocks.back().get(), 300, main_stream());
    const std::vector<std::uint8_t> mark(300, static_cast<std::uint8_t>(i + 1));
    copy_to_device(blocks.back().get(), mark.data(), mark.size());
  }
  for (int i = 0; i < 8; ++i)
    CHECK(on_host(blocks[static_cast<std::size_t>(i)].get(), 300) ==
          std::vector<std::uint8_t>(300, static_cast<std::uint8_t>(i + 1)));
}

TEST_CASE("the peak is the most that was in use at once", ON_DEVICE) {
  const std::size_t megabyte = std::size_t{1} << 20;
  reset_peak_memory();
  const std::size_t before = memory_statistics().in_use_bytes;
  CHECK(memory_statistics().peak_bytes == before);
  {
    const auto first = allocate(megabyte);
    { const auto second = allocate(2 * megabyte); }
    const auto third = allocate(megabyte);
  }
  CHECK(memory_statistics().in_use_bytes == before);
  CHECK(memory_statistics().peak_bytes == before + 3 * megabyte);
  reset_peak_memory();
  CHECK(memory_statistics().peak_bytes == before);
}

TEST_CASE("cached memory goes back to the device", ON_DEVICE) {
  const WithMemoryCaching caching(true);
  { const auto block = allocate(5000); }
  CHECK(memory_statistics().cached_bytes >= 5000);
  release_cached_memory();
  CHECK(memory_statistics().cached_bytes == 0);
}

TEST_CASE("without caching a block is as large as asked for and goes back at once", ON_DEVICE) {
  const WithMemoryCaching caching(true);
  { const auto cached = allocate(5000); }
  const std::size_t before = memory_statistics().in_use_bytes;
  {
    const WithMemoryCaching without(false);
    CHECK(memory_statistics().cached_bytes == 0);
    const auto block = allocate(5001);
    CHECK(memory_statistics().in_use_bytes == before + 5001);
  }
  CHECK(memory_statistics().in_use_bytes == before);
  CHECK(memory_statistics().cached_bytes == 0);
}

TEST_CASE("no bytes are a block of their own", ON_DEVICE) {
  const auto first = allocate(0), second = allocate(0);
  CHECK(first != nullptr);
  CHECK(first.get() != second.get());
}

TEST_CASE("out of memory: the error names the bytes, and all goes on", ON_DEVICE) {
  const auto held = allocate(1000);
  { const auto cached = allocate(2000); }
  const auto before = memory_statistics();
  const std::string error = error_of([] { allocate(std::size_t{1} << 60); });
  CAPTURE(error);
  CHECK_THAT(error, StartsWith("[allocator] expected 1152921504606846976 more bytes") &&
                        ContainsSubstring(std::to_string(before.in_use_bytes) + " in use") &&
                        ContainsSubstring(" cached") && ContainsSubstring("--batch-size"));
  CHECK(memory_statistics().in_use_bytes == before.in_use_bytes);

  // The device does not remember the error.
  const auto values = counted(1000);
  copy_to_device(held.get(), values.data(), values.size());
  CHECK(on_host(held.get(), 1000) == values);
  CHECK_NOTHROW(synchronize());
}

TEST_CASE("thread counts have limits", "[device]") {
  const int before = thread_count();
  for (const int count : {1, 3, 1024}) {
    set_threads(count);
    CHECK(thread_count() == count);
  }
  set_threads(before);
  for (const int count : {0, -1, 1025})
    CHECK(error_of([&] { set_threads(count); }) ==
          "[threads] expected 1 to 1024 threads, got " + std::to_string(count));
  CHECK(thread_count() == before);
}

#if OMNICONV_CUDA

DeviceFacts good_machine() {
  return {.failure = "",
          .driver_version = 13000,
          .runtime_version = 13000,
          .driver_too_old = false,
          .devices = 1,
          .name = "NVIDIA H100",
          .capability = 90,
          .has_code = true};
}

TEST_CASE("every machine that cannot run a CUDA build is told what to do", "[device]") {
  DeviceFacts facts = good_machine();
  CHECK_NOTHROW(check_device(facts));
  std::string expected;
  SECTION("no GPU") {
    facts.failure = "no CUDA-capable device is detected";
    facts.devices = 0;
    expected =
        "[device] expected a CUDA GPU, got none (driver says: no CUDA-capable device is detected): "
        "build with -DOMNICONV_DEVICE=cpu for this machine";
  }
  SECTION("no driver, which CUDA calls an insufficient one") {
    facts.failure = "CUDA driver version is insufficient for CUDA runtime version";
    facts.driver_too_old = true;
    facts.driver_version = 0;
    facts.devices = 0;
    expected =
        "[device] expected a CUDA GPU, got none (no NVIDIA driver is installed): "
        "build with -DOMNICONV_DEVICE=cpu for this machine";
  }
  SECTION("a driver too old") {
    facts.failure = "CUDA driver version is insufficient for CUDA runtime version";
    facts.driver_too_old = true;
    facts.driver_version = 12020;
    facts.devices = 0;
    expected =
        "[device] expected an NVIDIA driver for CUDA 13.0, got one for CUDA 12.2: update the driver, or build with "
        "CUDA 12.2 or older, or build with -DOMNICONV_DEVICE=cpu for this machine";
  }
  SECTION("all GPUs hidden") {
    facts.devices = 0;
    expected =
        "[device] expected a CUDA GPU, got none (the driver lists no device; is CUDA_VISIBLE_DEVICES set?): "
        "build with -DOMNICONV_DEVICE=cpu for this machine";
  }
  SECTION("a GPU older than the kernels") {
    facts.name = "Tesla V100";
    facts.capability = 70;
    facts.has_code = false;
    expected =
        "[device] expected a GPU of compute capability 8.0 or newer, got Tesla V100 with 7.0: use a newer GPU, or "
        "build with -DOMNICONV_DEVICE=cpu for this machine";
  }
  SECTION("a GPU that this build was not made for") {
    facts.name = "NVIDIA A100";
    facts.capability = 80;
    facts.has_code = false;
    expected = "[device] expected a GPU of the compute capabilities of this build (" + compiled_capabilities() +
               "), got NVIDIA A100 with 8.0: build with -DCMAKE_CUDA_ARCHITECTURES=80";
  }
  if (!expected.empty()) CHECK(error_of([&] { check_device(facts); }) == expected);
}

TEST_CASE("a program without cuDNN is told what to do", "[device]") {
  const std::string missing = error_of([] { library::load_cudnn({"libno-such-cudnn.so.9"}); });
  CHECK_THAT(missing, StartsWith("[cudnn] expected cuDNN 9, got none (libno-such-cudnn.so.9: "));
  CHECK_THAT(missing, ContainsSubstring("install it, or put its folder on LD_LIBRARY_PATH"));
  CHECK(missing.find('\n') == std::string::npos);
  CHECK(library::load_cudnn({"libno-such-cudnn.so.9", "libc.so.6"}) != nullptr);

  CHECK_THAT(library::cudnn_version(), StartsWith("cuDNN 9."));
  CHECK(error_of([] { library::cudnn_function("cudnnNoSuchFunction"); }) ==
        "[cudnn] expected cuDNN 9 to have cudnnNoSuchFunction, got a library without: install NVIDIA's own");
}

TEST_CASE("a failed call of CUDA is named with its text and place", "[device]") {
  const std::string error = error_of([] { OMNICONV_CHECK_CUDA(cudaErrorInvalidValue); });
  CHECK_THAT(error,
             StartsWith("[cuda] expected cudaErrorInvalidValue to succeed, got invalid argument (device_test.cpp:"));
  CHECK_NOTHROW(OMNICONV_CHECK_CUDA(cudaSuccess));
}

#endif

}  // namespace
}  // namespace omniconv::test
