#include "engine/device_check_cuda.h"

#include <cuda_runtime.h>

#include "engine/check_cuda.h"
#include "engine/device_code_cuda.h"
#include "kernels/error.h"

namespace omniconv {

namespace {

constexpr const char* cpu_remedy = "build with -DOMNICONV_DEVICE=cpu for this machine";

// The kernels copy to shared memory asynchronously, which older GPUs cannot.
constexpr int oldest_capability = 80;

std::string cuda_version(int version) {
  return concat(version / 1000, '.', version % 1000 / 10);
}

std::string capability_text(int capability) {
  return concat(capability / 10, '.', capability % 10);
}

}  // namespace

DeviceFacts device_facts() {
  DeviceFacts facts;
  facts.runtime_version = CUDART_VERSION;
  if (cudaDriverGetVersion(&facts.driver_version) != cudaSuccess) facts.driver_version = 0;
  const cudaError_t status = cudaGetDeviceCount(&facts.devices);
  cudaGetLastError();
  if (status == cudaErrorNoDevice) facts.devices = 0;
  if (status != cudaSuccess && status != cudaErrorNoDevice) {
    facts.failure = cudaGetErrorString(status);
    facts.driver_too_old = status == cudaErrorInsufficientDriver;
    facts.devices = 0;
    return facts;
  }
  if (facts.devices == 0) return facts;
  int device = 0;
  OMNICONV_CHECK_CUDA(cudaGetDevice(&device));
  cudaDeviceProp properties = {};
  OMNICONV_CHECK_CUDA(cudaGetDeviceProperties(&properties, device));
  facts.name = properties.name;
  facts.capability = properties.major * 10 + properties.minor;
  facts.has_code = device_has_code();
  return facts;
}

void check_device(const DeviceFacts& facts) {
  // Without any driver CUDA calls the driver too old as well.
  if (facts.driver_too_old && facts.driver_version > 0)
    fail("device", "expected an NVIDIA driver for CUDA ", cuda_version(facts.runtime_version), ", got one for CUDA ",
         cuda_version(facts.driver_version), ": update the driver, or build with CUDA ",
         cuda_version(facts.driver_version), " or older, or ", cpu_remedy);
  if (facts.driver_version == 0)
    fail("device", "expected a CUDA GPU, got none (no NVIDIA driver is installed): ", cpu_remedy);
  if (!facts.failure.empty())
    fail("device", "expected a CUDA GPU, got none (driver says: ", facts.failure, "): ", cpu_remedy);
  if (facts.devices == 0)
    fail("device",
         "expected a CUDA GPU, got none (the driver lists no device; is CUDA_VISIBLE_DEVICES set?): ", cpu_remedy);
  if (facts.has_code) return;
  const std::string capability = capability_text(facts.capability);
  if (facts.capability < oldest_capability)
    fail("device", "expected a GPU of compute capability ", capability_text(oldest_capability), " or newer, got ",
         facts.name, " with ", capability, ": use a newer GPU, or ", cpu_remedy);
  fail("device", "expected a GPU of the compute capabilities of this build (", compiled_capabilities(), "), got ",
       facts.name, " with ", capability, ": build with -DCMAKE_CUDA_ARCHITECTURES=", facts.capability);
}

}  // namespace omniconv
