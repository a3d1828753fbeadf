#include <cstring>
#include <vector>

#include "engine/upload.h"

namespace omniconv {

// The copy is made when it is received: whoever writes over memory that is still to be copied gets what was written, in
// every run, where on a GPU it is a race.
struct UploadSlot::State {
  std::vector<std::byte> memory;
  std::size_t sent_bytes = 0;
};

UploadSlot::UploadSlot(std::size_t most_bytes) : state_(new State{std::vector<std::byte>(most_bytes), 0}) {}
UploadSlot::~UploadSlot() = default;

std::byte* UploadSlot::host_memory() const {
  return state_->memory.data();
}

void UploadSlot::send(std::size_t bytes) const {
  state_->sent_bytes = bytes;
}

void UploadSlot::receive(void* target) const {
  std::memcpy(target, state_->memory.data(), state_->sent_bytes);
}

}  // namespace omniconv
