// A block of threads on the CPU: what its threads know of themselves, how they wait for each other, and the
// memory they share. Kernels see this through device_cpu.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/simt/config.h"
#include "kernels/simt/place.h"
#include "kernels/simt/shared_arena.h"

namespace omniconv::simt::detail {

class Block;
class FiberPool;
struct Fiber;

/// A kernel with its arguments, ready to be called by every thread.
struct Launch {
  Dim3 grid, block;
  std::size_t shared_bytes = 0;
  void (*invoke)(const void* call) = nullptr;
  const void* call = nullptr;
};

enum class State : std::uint8_t { running, at_barrier, in_warp, finished };

/// A thread of the block.
struct alignas(64) Thread {
  Dim3 index;
  int rank = 0;
  Block* block = nullptr;
  Fiber* fiber = nullptr;  // the stack it runs on, once it has been started
  State state = State::running;
};

/// The thread that runs now; null outside of kernels.
extern constinit thread_local Thread* current_thread;

/// A meeting of threads that wait until all have come: of a block, or of a warp.
struct Attendance {
  int arrived = 0;
  int expected = 0;
  int first_rank = 0;  // who came first, where, and for what
  Place where;
  const char* operation = nullptr;

  /// Notes that a thread has come and returns whether it is the last.
  bool arrive(const Thread& self, Place place, const char* what) {
    if (arrived == 0 || !identical(place, where)) [[unlikely]]
      arrive_first_or_lost(self, place, what);
    return ++arrived == expected;
  }

 private:
  void arrive_first_or_lost(const Thread& self, Place place, const char* what);
};

/// What the threads of a meeting hand each other lies in two slots by turns: nobody can come to the meeting after
/// next before all have read their slot of this one.
template <int Threads, int Bytes>
struct Meeting : Attendance {
  int turn = 0;
  alignas(64) std::byte slots[2][Threads * Bytes];

  template <class T>
  T* slot() {
    static_assert(sizeof(T) <= Bytes);
    return reinterpret_cast<T*>(slots[turn]);
  }

  /// Ends the meeting: who comes now comes to the next.
  void adjourn() {
    arrived = 0;
    turn ^= 1;
  }
};

using BlockMeeting = Meeting<max_block_threads, 8>;
using WarpMeeting = Meeting<warp_size, 16>;

/// An asynchronous copy that has not arrived.
struct PendingCopy {
  void* destination;
  const void* source;  // null: zeros
  std::size_t bytes;
};

/// The copies of a thread, in the order of their start; `group_ends` says where each committed group ends.
struct PendingCopies {
  std::vector<PendingCopy> copies;
  std::vector<std::size_t> group_ends;

  void clear() {
    copies.clear();
    group_ends.clear();
  }
};

/// Runs one block after another on one OS thread. Threads are fibers that go on until they have to wait and then
/// switch to the next that can go on. There is one order of threads per block, which a seed can shuffle.
class Block {
 public:
  Block();
  ~Block();

  /// The calling OS thread's.
  static Block& of_this_thread();

  /// Runs all threads of a block; throws what the first of them, by rank, threw, or what was wrong with their waiting.
  void run(const Launch& launch, std::int64_t number);

  // What follows is for the block's threads.

  const Launch& launch() const { return *launch_; }
  Dim3 index() const { return index_; }
  int thread_count() const { return thread_count_; }
  SharedArena& shared() { return shared_; }
  PendingCopies& copies(const Thread& thread) {
    copies_used_ = true;
    return copies_[static_cast<std::size_t>(thread.rank)];
  }
  /// Where the block or a warp of it meets: the threads arrive(); the last one may do something for all before it
  /// calls release_block() or release_warp(); the others wait_in() State::at_barrier or State::in_warp.
  BlockMeeting& meeting() { return meeting_; }
  WarpMeeting& warp_of(const Thread& thread) { return warps_[thread.rank / warp_size]; }
  void release_block(Thread& self);
  void release_warp(Thread& self);
  void wait_in(State state, Thread& self);

 private:
  struct Abandoned {};  // thrown through a waiting thread whose block has failed, to unwind its stack

  static void fiber_body(void* block, Fiber& self);
  void prepare(const Launch& launch, std::int64_t number);
  void run_threads(Fiber& self);
  void run_thread(Thread& thread, Fiber& self);
  void switch_away(Fiber& from);
  void make_ready(const Thread& self, const int* ranks, int count);
  void prefetch_next() const;
  void shuffle_ranks(int* ranks, int count);
  std::exception_ptr diagnose_waiting() const;
  void abandon_waiting();

  std::unique_ptr<FiberPool> fibers_;
  const Launch* launch_ = nullptr;
  Dim3 index_;
  Dim3 extent_{0, 0, 0};
  int thread_count_ = 0;
  int started_ = 0;
  int finished_ = 0;
  bool abandoning_ = false;
  bool shuffled_ = false;
  std::uint64_t random_state_ = 0;
  std::exception_ptr failure_;
  int failed_rank_ = 0;

  // Threads that can go on: a ring that a thread is in at most once.
  unsigned ready_head_ = 0, ready_tail_ = 0;
  int ready_[max_block_threads];
  int order_[max_block_threads];  // ranks, in the order in which they start

  Thread threads_[max_block_threads];
  BlockMeeting meeting_;
  WarpMeeting warps_[max_block_threads / warp_size];
  std::vector<PendingCopies> copies_;  // by rank
  bool copies_used_ = false;
  SharedArena shared_;
};

/// The seed of the order of threads, if they are shuffled.
std::optional<std::uint64_t> thread_order_seed();

}  // namespace omniconv::simt::detail
