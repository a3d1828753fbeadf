#include "kernels/simt/recording.h"

#include "kernels/error.h"

namespace omniconv::simt {

Recording::Recording(const std::function<void()>& work) {
  expect(in_progress_ == nullptr, "recording", "expected one recording at a time, got one inside of another");
  struct InProgress {
    explicit InProgress(Recording* recording) { in_progress_ = recording; }
    ~InProgress() { in_progress_ = nullptr; }
  };
  const InProgress started(this);
  work();
}

void refuse_in_recording(const char* where, const char* what) {
  expect(Recording::in_progress() == nullptr, where, "expected launches and copies within the device, got ", what,
         ", which cannot be recorded");
}

}  // namespace omniconv::simt
