// Runs the tests of one folder. `--require-gpu` as first argument ends with 77 (skipped) where no GPU answers.
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <cstring>
#include <iostream>
#include <vector>

#if OMNICONV_CUDA
#include <cuda_runtime_api.h>
#endif

namespace {

constexpr int skipped = 77;

bool gpu_answers() {
#if OMNICONV_CUDA
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
#else
  return false;
#endif
}

}  // namespace

#if defined(__SANITIZE_ADDRESS__)
// Tests ask for more memory than there is: the sanitizer shall then return none, as without it.
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}
#endif

int main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  if (argc > 1 && std::strcmp(argv[1], "--require-gpu") == 0) {
    if (!gpu_answers()) {
      std::cout << "skipped: no GPU for this build\n";
      return skipped;
    }
    arguments.erase(arguments.begin() + 1);
  }
  return Catch::Session().run(static_cast<int>(arguments.size()), arguments.data());
}
