#include "engine/upload.h"

#include "engine/device.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

std::size_t checked(std::size_t bytes) {
  refuse_in_recording("a new upload");
  expect(bytes > 0, "upload", "expected room for at least 1 byte, got none");
  return bytes;
}

}  // namespace

Upload::Upload(std::size_t most_bytes)
    : most_bytes_(checked(most_bytes)), slots_{UploadSlot(most_bytes), UploadSlot(most_bytes)} {}

void Upload::send(std::size_t bytes, const std::function<void(std::byte*)>& write) {
  refuse_in_recording("an upload");
  expect(bytes <= most_bytes_, "upload", "expected at most ", most_bytes_, " bytes, got ", bytes);
  expect(under_way() < 2, "upload",
         "expected at most two uploads under way, got a third: receive the first one before");
  write(slot(sent_).host_memory());
  slot(sent_).send(bytes);
  ++sent_;
}

void Upload::receive(void* target) {
  refuse_in_recording("an upload");
  expect(under_way() > 0, "upload", "expected an upload under way, got none: send before");
  slot(received_).receive(target);
  ++received_;
}

}  // namespace omniconv
