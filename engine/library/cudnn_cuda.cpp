#include "engine/library/cudnn_cuda.h"

#include <dlfcn.h>

#include "kernels/error.h"

namespace omniconv::library {

void* load_cudnn(std::initializer_list<const char*> files) {
  for (const char* file : files)
    if (void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL)) return library;
  const char* const reason = dlerror();
  fail("cudnn", "expected cuDNN 9, got none (", reason ? reason : "no reason given",
       "): install it, or put its folder on LD_LIBRARY_PATH");
}

void* cudnn_function(const char* name) {
  // Never closed: handles and plans outlive everything that could say when.
  static void* const library = load_cudnn({"libcudnn.so.9", OMNICONV_CUDNN_LIBRARY});
  void* function = dlsym(library, name);
  expect(function, "cudnn", "expected cuDNN 9 to have ", name, ", got a library without: install NVIDIA's own");
  return function;
}

std::string cudnn_version() {
  try {
    const std::size_t version = cudnnGetVersion();  // 91900 for 9.19.0
    return concat("cuDNN ", version / 10000, '.', version / 100 % 100, '.', version % 100);
  } catch (const Error&) {
    return "no cuDNN";
  }
}

}  // namespace omniconv::library
