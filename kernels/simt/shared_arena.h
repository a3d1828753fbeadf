// The shared memory of a CPU block.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "kernels/simt/config.h"
#include "kernels/simt/place.h"

namespace omniconv::simt::detail {

/// Hands out shared arrays with dead space around each. The memory is filled with bytes that are NaN in every
/// floating-point type when the first thread of a block asks for it; what lies around the arrays is poisoned for
/// AddressSanitizer, and without it checked for having been overwritten.
class SharedArena {
 public:
  /// Repeated, these bits are a quiet NaN in f64, f32, f16 and bf16, and -1 in integers.
  static constexpr int nan_byte = 0xff;

  SharedArena();
  ~SharedArena();
  SharedArena(const SharedArena&) = delete;
  SharedArena& operator=(const SharedArena&) = delete;

  /// Forgets the arrays of the block before; a kernel may carve `dynamic_bytes` out of its dynamic memory now.
  void open(std::size_t dynamic_bytes);
  /// Ends a block that went well: throws if one of its threads has written behind an array.
  void close();

  /// The dynamic array of this number; `offset` is what the calling thread has carved before.
  void* dynamic_array(std::size_t number, std::size_t offset, std::size_t bytes) {
    if (number < dynamic_.size() && dynamic_[number].bytes == bytes) [[likely]]
      return dynamic_[number].address;
    return add_dynamic(number, offset, bytes);
  }

  /// The static array of this identity, which only one place of the source may ask for.
  void* static_array(const void* identity, std::size_t bytes, Place where) {
    for (const Array& array : static_)
      if (array.identity == identity && identical(array.where, where)) [[likely]]
        return array.address;
    return add_static(identity, bytes, where);
  }

  /// Whether all these bytes lie in the arena.
  bool contains(const void* address, std::size_t bytes) const {
    const auto* begin = static_cast<const std::byte*>(address);
    return begin >= memory_ && begin + bytes <= memory_ + used_;
  }

 private:
  struct Array {
    std::byte* address;
    std::size_t bytes;
    const void* identity;
    Place where;
  };

  void* add_dynamic(std::size_t number, std::size_t offset, std::size_t bytes);
  void* add_static(const void* identity, std::size_t bytes, Place where);
  Array add(std::size_t bytes, const void* identity, Place where);
  void check_dead_space() const;

  std::byte* memory_;
  std::size_t used_ = 0;
  std::size_t dynamic_bytes_ = 0;
  std::size_t static_bytes_ = 0;
  std::vector<Array> dynamic_, static_;
};

}  // namespace omniconv::simt::detail
