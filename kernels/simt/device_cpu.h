// What a kernel may do, on the CPU: the names of device_cuda.h, which documents them, lane by lane.
//
// Whatever waits takes the place it was called from, so that threads that wait at different places are noticed.
#pragma once

#include <cstring>
#include <source_location>
#include <type_traits>

#include "kernels/simt/block.h"
#include "kernels/simt/config.h"

namespace omniconv::simt {

using detail::Place;

inline Dim3 thread_index() {
  return detail::current_thread->index;
}
inline Dim3 block_index() {
  return detail::current_thread->block->index();
}
inline Dim3 block_extent() {
  return detail::current_thread->block->launch().block;
}
inline Dim3 grid_extent() {
  return detail::current_thread->block->launch().grid;
}
inline int thread_rank() {
  return detail::current_thread->rank;
}
inline int lane_index() {
  return thread_rank() % warp_size;
}
inline int warp_index() {
  return thread_rank() / warp_size;
}

class SharedMemory {
 public:
  template <class T>
  T* array(std::size_t count) {
    const std::size_t bytes = count * sizeof(T);
    void* result = detail::current_thread->block->shared().dynamic_array(number_++, offset_, bytes);
    offset_ += detail::round_up(bytes, detail::shared_alignment);
    return static_cast<T*>(result);
  }

 private:
  std::size_t number_ = 0;
  std::size_t offset_ = 0;
};

namespace detail {
template <class T, int N, int Tag>
inline constinit char identity_of_array = 0;  // by its address
}

template <class T, int N, int Tag = 0>
T* shared_array(Place where = Place::current()) {
  detail::SharedArena& shared = detail::current_thread->block->shared();
  return static_cast<T*>(shared.static_array(&detail::identity_of_array<T, N, Tag>, N * sizeof(T), where));
}

namespace detail {

/// A meeting of the warp: each lane leaves its value, the last to come may `combine` all, then each reads the slot.
template <class T, class Combine, class Read>
auto meet_warp(const T& value, const char* operation, Place where, Combine combine, Read read) {
  static_assert(std::is_trivially_copyable_v<T>);
  Thread& self = *current_thread;
  Block& block = *self.block;
  WarpMeeting& warp = block.warp_of(self);
  T* slot = warp.slot<T>();
  slot[self.rank % warp_size] = value;
  if (warp.arrive(self, where, operation)) {
    combine(slot, warp.expected);
    block.release_warp(self);
  } else {
    block.wait_in(State::in_warp, self);
  }
  return read(slot, warp.expected);
}

[[noreturn]] void refuse_absent_lane(const char* operation, int source_lane, int lanes);

template <class T>
T read_lane(const T& value, int source_lane, const char* operation, Place where) {
  return meet_warp(
      value, operation, where, [](T*, int) {},
      [=](const T* slot, int lanes) {
        if (source_lane >= lanes) [[unlikely]]
          refuse_absent_lane(operation, source_lane, lanes);
        return slot[source_lane];
      });
}

/// Combines 32 values into the first, in the order in which a GPU's lanes do it (and get the same bits each).
template <class T, class Combine>
void butterfly(T* values, Combine combine) {
  for (int half = warp_size / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) values[i] = combine(values[i], values[i + half]);
}

template <class T, class Combine>
T warp_reduce(const T& value, const char* operation, Place where, Combine combine) {
  return meet_warp(
      value, operation, where,
      [=](T* slot, int lanes) {
        if (lanes < warp_size) refuse_absent_lane(operation, lanes, lanes);
        butterfly(slot, combine);
      },
      [](const T* slot, int) { return slot[0]; });
}

void expect_whole_warps(const char* operation, int threads);

template <class T, class Combine>
T block_reduce(const T& value, const char* operation, Place where, Combine combine) {
  Thread& self = *current_thread;
  Block& block = *self.block;
  expect_whole_warps(operation, block.thread_count());
  T* slot = block.meeting().template slot<T>();
  slot[self.rank] = value;
  if (block.meeting().arrive(self, where, operation)) {
    const int warps = block.thread_count() / warp_size;
    for (int w = 0; w < warps; ++w) {
      butterfly(slot + w * warp_size, combine);
      slot[w] = slot[w * warp_size];
    }
    // A power of two of partial results pairs up as a GPU does it; the rest stays out instead of adding neutral ones.
    for (int half = warp_size / 2; half > 0; half /= 2)
      for (int i = 0; i < half && i + half < warps; ++i) slot[i] = combine(slot[i], slot[i + half]);
    block.release_block(self);
  } else {
    block.wait_in(State::at_barrier, self);
  }
  return slot[0];
}

void start_copy(void* destination, const void* source, std::size_t bytes, bool valid);
void finish_copies(std::size_t pending_groups);

}  // namespace detail

inline void barrier(Place where = Place::current()) {
  detail::Thread& self = *detail::current_thread;
  detail::Block& block = *self.block;
  if (block.meeting().arrive(self, where, "barrier")) {
    block.release_block(self);
  } else {
    block.wait_in(detail::State::at_barrier, self);
  }
}

inline void warp_barrier(Place where = Place::current()) {
  detail::meet_warp(
      char{}, "warp_barrier", where, [](char*, int) {}, [](const char*, int) {});
}

template <class T>
T shuffle(T value, int source_lane, Place where = Place::current()) {
  return detail::read_lane(value, source_lane & (warp_size - 1), "shuffle", where);
}
template <class T>
T shuffle_xor(T value, int mask, Place where = Place::current()) {
  return detail::read_lane(value, (lane_index() ^ mask) & (warp_size - 1), "shuffle_xor", where);
}
template <class T>
T shuffle_down(T value, int delta, Place where = Place::current()) {
  const int source = lane_index() + delta;
  return detail::read_lane(value, source < warp_size ? source : lane_index(), "shuffle_down", where);
}
template <class T>
T shuffle_up(T value, int delta, Place where = Place::current()) {
  const int source = lane_index() - delta;
  return detail::read_lane(value, source >= 0 ? source : lane_index(), "shuffle_up", where);
}
inline unsigned ballot(bool condition, Place where = Place::current()) {
  return detail::meet_warp(
      unsigned{condition}, "ballot", where,
      [](unsigned* slot, int lanes) {
        unsigned bits = 0;
        for (int i = 0; i < lanes; ++i) bits |= slot[i] << i;
        slot[0] = bits;
      },
      [](const unsigned* slot, int) { return slot[0]; });
}

template <class T>
T warp_sum(T value, Place where = Place::current()) {
  return detail::warp_reduce(value, "warp_sum", where, detail::Plus{});
}
template <class T>
T warp_max(T value, Place where = Place::current()) {
  return detail::warp_reduce(value, "warp_max", where, detail::Maximum{});
}
template <class T>
T block_sum(T value, Place where = Place::current()) {
  return detail::block_reduce(value, "block_sum", where, detail::Plus{});
}
template <class T>
T block_max(T value, Place where = Place::current()) {
  return detail::block_reduce(value, "block_max", where, detail::Maximum{});
}

template <int Bytes>
void copy_async(void* shared_destination, const void* global_source, bool valid = true) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
  detail::start_copy(shared_destination, global_source, Bytes, valid);
}
inline void copy_commit() {
  auto& copies = detail::current_thread->block->copies(*detail::current_thread);
  copies.group_ends.push_back(copies.copies.size());
}
template <int Pending>
void copy_wait() {
  detail::finish_copies(Pending);
}

}  // namespace omniconv::simt
