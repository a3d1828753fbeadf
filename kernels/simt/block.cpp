#if !OMNICONV_CUDA  // a CUDA build needs none of this

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "kernels/error.h"
#include "kernels/simt/block.h"
#include "kernels/simt/fibers.h"
#include "kernels/simt/launch.h"

namespace omniconv::simt {
namespace detail {

constinit thread_local Thread* current_thread = nullptr;

namespace {

std::uint64_t mix(std::uint64_t x) {  // splitmix64
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

bool same_place(const Place& a, const Place& b) {
  return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

std::string text(const Place& place) {
  const std::string_view file = place.file_name();
  return concat(file.substr(file.find_last_of('/') + 1), ':', place.line());
}

// The first to come says where the others have to come too.
void Attendance::arrive_first_or_lost(const Thread& self, Place place, const char* what) {
  if (arrived == 0) {
    first_rank = self.rank;
    where = place;
    operation = what;
  } else if (!same_place(place, where)) {
    fail(what, "expected all threads at the same place, got thread ", first_rank, " at ", text(where), " and thread ",
         self.rank, " at ", text(place));
  }
}

// Goes on where there is something to do: in a thread that need not wait any more, in the next that has not been
// started, or, when there is neither, in run().
[[gnu::always_inline]] inline void Block::switch_away(Fiber& from) {
  Fiber* to = &fibers_->os_thread();
  if (ready_head_ != ready_tail_) {
    to = threads_[ready_[ready_head_++ % max_block_threads]].fiber;
  } else if (started_ < thread_count_) {
    to = &fibers_->take();
  }
  if (to != &from) fibers_->switch_fibers(from, *to);
}

// The stack of the thread after the next: with many threads it has long left the first-level cache.
inline void Block::prefetch_next() const {
  const auto* stack =
      static_cast<const std::byte*>(threads_[ready_[(ready_head_ + 1) % max_block_threads]].fiber->context);
  __builtin_prefetch(stack, 1);
  __builtin_prefetch(stack + 64, 1);
  __builtin_prefetch(stack + 128, 1);
}

Block::Block()
    : fibers_(std::make_unique<FiberPool>(&Block::fiber_body, this)), copies_(std::size_t{max_block_threads}) {
  std::iota(order_, order_ + max_block_threads, 0);
  for (int rank = 0; rank < max_block_threads; ++rank) {
    threads_[rank].rank = rank;
    threads_[rank].block = this;
  }
}

Block::~Block() = default;

Block& Block::of_this_thread() {
  static thread_local const auto block = std::make_unique<Block>();
  return *block;
}

void Block::run(const Launch& launch, std::int64_t number) {
  prepare(launch, number);
  fibers_->switch_fibers(fibers_->os_thread(), fibers_->take());
  // Back here: no thread can go on.
  if (finished_ < thread_count_) {
    if (!failure_) failure_ = diagnose_waiting();
    abandon_waiting();
  }
  current_thread = nullptr;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  shared_.close();
}

void Block::prepare(const Launch& launch, std::int64_t number) {
  launch_ = &launch;
  const auto n = static_cast<std::uint64_t>(number);
  index_ = {static_cast<unsigned>(n % launch.grid.x), static_cast<unsigned>(n / launch.grid.x % launch.grid.y),
            static_cast<unsigned>(n / launch.grid.x / launch.grid.y)};
  if (launch.block != extent_) {
    extent_ = launch.block;
    thread_count_ = static_cast<int>(extent_.x * extent_.y * extent_.z);
    int rank = 0;
    for (unsigned z = 0; z < extent_.z; ++z)
      for (unsigned y = 0; y < extent_.y; ++y)
        for (unsigned x = 0; x < extent_.x; ++x) threads_[rank++].index = {x, y, z};
    meeting_.expected = thread_count_;
    for (int w = 0; w * warp_size < thread_count_; ++w)
      warps_[w].expected = std::min(warp_size, thread_count_ - w * warp_size);
  }
  started_ = finished_ = 0;
  ready_head_ = ready_tail_ = 0;
  abandoning_ = false;
  // A block that failed may have left its meetings half-attended.
  meeting_.arrived = 0;
  for (int w = 0; w * warp_size < thread_count_; ++w) warps_[w].arrived = 0;
  if (copies_used_) {
    for (PendingCopies& copies : copies_) copies.clear();
    copies_used_ = false;
  }

  const std::optional<std::uint64_t> seed = thread_order_seed();
  if (seed || shuffled_) std::iota(order_, order_ + max_block_threads, 0);
  shuffled_ = seed.has_value();
  if (seed) {
    random_state_ = mix(*seed) + mix(n + 1);
    shuffle_ranks(order_, thread_count_);
  }
  shared_.open(launch.shared_bytes);
}

void Block::shuffle_ranks(int* ranks, int count) {
  for (int i = count - 1; i > 0; --i) {
    random_state_ += 0x9e3779b97f4a7c15u;
    std::swap(ranks[i], ranks[mix(random_state_) % static_cast<std::uint64_t>(i + 1)]);
  }
}

void Block::fiber_body(void* block, Fiber& self) {
  Block& b = *static_cast<Block*>(block);
  while (!b.fibers_->stopping()) b.run_threads(self);
}

// Starts threads, one behind the other on the same stack, for as long as they end without having waited for
// another; then lends the stack to whom it may concern.
void Block::run_threads(Fiber& self) {
  while (started_ < thread_count_ && ready_head_ == ready_tail_) run_thread(threads_[order_[started_++]], self);
  fibers_->put_back(self);
  switch_away(self);
}

void Block::run_thread(Thread& thread, Fiber& self) {
  thread.fiber = &self;
  thread.state = State::running;
  current_thread = &thread;
  try {
    launch_->invoke(launch_->call);
  } catch (const Abandoned&) {
  } catch (...) {
    if (!failure_ || thread.rank < failed_rank_) {
      failure_ = std::current_exception();
      failed_rank_ = thread.rank;
    }
  }
  thread.state = State::finished;
  ++finished_;
}

void Block::wait_in(State state, Thread& self) {
  self.state = state;
  if (ready_tail_ - ready_head_ > 1) prefetch_next();
  switch_away(*self.fiber);
  current_thread = &self;
  self.state = State::running;
  if (abandoning_) [[unlikely]]
    throw Abandoned{};
}

void Block::release_block(Thread& self) {
  meeting_.adjourn();
  if (shuffled_) shuffle_ranks(order_, thread_count_);
  make_ready(self, order_, thread_count_);
  if (shuffled_) wait_in(State::running, self);
}

void Block::release_warp(Thread& self) {
  WarpMeeting& warp = warp_of(self);
  warp.adjourn();
  int ranks[warp_size];
  const int first = self.rank / warp_size * warp_size;
  for (int lane = 0; lane < warp_size; ++lane) ranks[lane] = first + lane;
  if (shuffled_) shuffle_ranks(ranks, warp.expected);
  make_ready(self, ranks, warp.expected);
  if (shuffled_) wait_in(State::running, self);
}

// Without a seed the last to come goes on at once, which saves a switch; with one it takes its place in the order.
void Block::make_ready(const Thread& self, const int* ranks, int count) {
  const int without = shuffled_ ? -1 : self.rank;
  unsigned tail = ready_tail_;
  for (int i = 0; i < count; ++i) {
    ready_[tail % max_block_threads] = ranks[i];
    tail += ranks[i] != without;
  }
  ready_tail_ = tail;
}

std::exception_ptr Block::diagnose_waiting() const {
  const auto find = [this](State state, int begin, int end) {
    const Thread* const last = threads_ + end;
    const Thread* const found = std::find_if(threads_ + begin, last, [=](const Thread& t) { return t.state == state; });
    return found == last ? nullptr : found;
  };
  const auto say = [](const auto&... parts) { return std::make_exception_ptr(Error(concat(parts...))); };

  // Who waits inside a warp goes first: the block's barrier may only wait for them.
  if (const Thread* waiting = find(State::in_warp, 0, thread_count_)) {
    const int begin = waiting->rank / warp_size * warp_size;
    const WarpMeeting& warp = warps_[begin / warp_size];
    const int end = std::min(begin + warp_size, thread_count_);
    const std::string expected = concat("[", warp.operation, "] expected all lanes of warp ", begin / warp_size, " at ",
                                        text(warp.where), ", got lane ");
    if (const Thread* left = find(State::finished, begin, end))
      return say(expected, left->rank - begin, " that has returned");
    const Thread* elsewhere = find(State::at_barrier, begin, end);
    return say(expected, elsewhere->rank - begin, " waiting at the barrier at ", text(meeting_.where));
  }
  const Thread* left = find(State::finished, 0, thread_count_);
  return say("[", meeting_.operation, "] expected all ", thread_count_, " threads at ", text(meeting_.where), ", got ",
             meeting_.arrived, "; thread ", left->rank, " has returned");
}

// Unwinds the stacks of the threads that would wait for ever.
void Block::abandon_waiting() {
  abandoning_ = true;
  for (int rank = 0; rank < thread_count_; ++rank)
    if (threads_[rank].state != State::finished) fibers_->switch_fibers(fibers_->os_thread(), *threads_[rank].fiber);
}

namespace {

// A seed, or that there is none, in one atomic that run() of every block may read.
struct OrderSeed {
  std::atomic<bool> given = false;
  std::atomic<std::uint64_t> seed = 0;

  OrderSeed() {
    const char* value = std::getenv("OMNICONV_SIMT_SHUFFLE");
    if (value == nullptr || *value == '\0') return;
    std::uint64_t parsed = 0;
    const char* end = value + std::strlen(value);
    const auto [rest, error] = std::from_chars(value, end, parsed);
    expect(error == std::errc{} && rest == end, "launch", "expected a number in OMNICONV_SIMT_SHUFFLE, got ", value);
    set(parsed);
  }

  void set(std::optional<std::uint64_t> value) {
    seed = value.value_or(0);
    given = value.has_value();
  }
};

OrderSeed& order_seed() {
  static OrderSeed seed;
  return seed;
}

}  // namespace

std::optional<std::uint64_t> thread_order_seed() {
  const OrderSeed& order = order_seed();
  if (!order.given.load(std::memory_order_relaxed)) return std::nullopt;
  return order.seed.load(std::memory_order_relaxed);
}

}  // namespace detail

void set_thread_order_seed(std::optional<std::uint64_t> seed) {
  detail::order_seed().set(seed);
}

}  // namespace omniconv::simt

#endif  // !OMNICONV_CUDA
