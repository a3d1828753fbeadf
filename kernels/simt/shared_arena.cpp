#if !OMNICONV_CUDA  // a CUDA build needs none of this

#include "kernels/simt/shared_arena.h"

#include <algorithm>
#include <cstring>

#include "kernels/error.h"
#include "kernels/simt/sanitizer.h"

namespace omniconv::simt::detail {
namespace {

constexpr std::size_t alignment = 64;    // of every array, so that vectors of the CPU's width fit shared arrays too
constexpr std::size_t dead_bytes = 128;  // at least, on both sides of every array
constexpr std::size_t max_arrays = 128;
constexpr std::size_t capacity = max_shared_bytes + max_arrays * (alignment + dead_bytes) + dead_bytes;
constexpr std::align_val_t page{4096};

constexpr auto dead_byte = std::byte{0xdb};

}  // namespace

SharedArena::SharedArena() : memory_(static_cast<std::byte*>(::operator new(capacity, page))) {
  std::memset(memory_, static_cast<int>(dead_byte), capacity);
  poison(memory_, capacity);
  dynamic_.reserve(max_arrays);
  static_.reserve(max_arrays);
}

SharedArena::~SharedArena() {
  unpoison(memory_, capacity);
  ::operator delete(memory_, page);
}

void SharedArena::open(std::size_t dynamic_bytes) {
  poison(memory_, used_);
  dynamic_.clear();
  static_.clear();
  used_ = dead_bytes;
  dynamic_bytes_ = dynamic_bytes;
  static_bytes_ = 0;
}

void SharedArena::close() {
  if (!OMNICONV_ADDRESS_SANITIZER) check_dead_space();
}

SharedArena::Array SharedArena::add(std::size_t bytes, const void* identity, Place where) {
  expect(dynamic_.size() + static_.size() < max_arrays, "shared", "expected at most ", max_arrays,
         " shared arrays in a kernel");
  const Array result{memory_ + used_, bytes, identity, where};
  const std::size_t end = used_ + bytes;
  const std::size_t next = round_up(end + dead_bytes, alignment);
  unpoison(result.address, bytes);
  std::memset(result.address, nan_byte, bytes);
  if (!OMNICONV_ADDRESS_SANITIZER) std::memset(memory_ + end, static_cast<int>(dead_byte), next - end);
  used_ = next;
  return result;
}

void* SharedArena::add_dynamic(std::size_t number, std::size_t offset, std::size_t bytes) {
  if (number < dynamic_.size())
    fail("shared", "expected all threads to carve the same arrays, got ", bytes, " bytes where another thread has ",
         dynamic_[number].bytes);
  if (offset > dynamic_bytes_ || bytes > dynamic_bytes_ - offset)
    fail("shared", "expected the launch to give at least ", offset + bytes, " bytes of dynamic shared memory, got ",
         dynamic_bytes_);
  dynamic_.push_back(add(bytes, nullptr, {}));
  return dynamic_.back().address;
}

void* SharedArena::add_static(const void* identity, std::size_t bytes, Place where) {
  for (const Array& array : static_)
    if (array.identity == identity) {
      if (same_place(array.where, where)) return array.address;
      fail("shared", "expected shared_array()s of the same type and size to have different tags, got those at ",
           text(array.where), " and ", text(where));
    }
  const std::size_t static_bytes = static_bytes_ + round_up(bytes, shared_alignment);
  expect(static_bytes <= max_static_shared_bytes, "shared", "expected at most ", max_static_shared_bytes,
         " bytes in shared_array()s, got ", static_bytes);
  expect(static_bytes + dynamic_bytes_ <= max_shared_bytes, "shared", "expected at most ", max_shared_bytes,
         " bytes of shared memory per block, got ", static_bytes + dynamic_bytes_);
  static_bytes_ = static_bytes;
  static_.push_back(add(bytes, identity, where));
  return static_.back().address;
}

void SharedArena::check_dead_space() const {
  for (const std::vector<Array>* arrays : {&dynamic_, &static_})
    for (const Array& array : *arrays) {
      const std::byte* end = array.address + array.bytes;
      if (!std::all_of(end, end + dead_bytes, [](std::byte b) { return b == dead_byte; }))
        fail("shared", "expected writes inside the shared arrays, got one behind the array of ", array.bytes, " bytes");
    }
}

}  // namespace omniconv::simt::detail

#endif  // !OMNICONV_CUDA
