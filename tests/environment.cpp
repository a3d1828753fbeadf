#include "tests/environment.h"

#if OMNICONV_CUDA
#include <cuda_runtime_api.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
// Tests ask for more memory than there is: the sanitizer shall then return none, as without it.
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}
#endif

namespace omniconv::test {

bool gpu_answers() {
#if OMNICONV_CUDA
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
#else
  return false;
#endif
}

}  // namespace omniconv::test
