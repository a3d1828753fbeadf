#include "apps/tensorboard/run_events.h"
#include "kernels/error.h"

namespace omniconv {

void expect_tensorboard() {
  expect(OMNICONV_TENSORBOARD, "tensorboard",
         "expected a build with event files, got one without: install protobuf-compiler, libprotobuf-dev and "
         "libboost-dev, configure and build again");
}

#if !OMNICONV_TENSORBOARD
std::unique_ptr<RunObserver> make_run_events(const ObservedRun&) {
  expect_tensorboard();
  return nullptr;
}
#endif

}  // namespace omniconv
