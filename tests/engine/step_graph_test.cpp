// Steps that are recorded and repeated, and the memory they are done in.
#include "engine/step_graph.h"

#include <vector>

#include "engine/fusions.h"
#include "engine/tensor.h"
#include "kernels/averages.h"
#include "tests/catch.h"
#include "tests/settings.h"

#if OMNICONV_CUDA
#define ON_DEVICE "[step_graph][cuda]"
#else
#define ON_DEVICE "[step_graph]"
#endif

namespace omniconv::test {
namespace {

Tensor doubles(const std::vector<double>& values) {
  return Tensor::from_host(values);
}

/// target += factor · source, on the device.
void add(double factor, const Tensor& source, const Tensor& target) {
  kernels::add_scaled(factor, source.data<double>(), target.data<double>(), target.count(), main_stream());
}

TEST_CASE("recorded work is done when it is queued, on the memory as it is then", ON_DEVICE) {
  const Tensor source = doubles({1, 2}), sum = doubles({10, 20}), copy = doubles({0, 0});
  const RecordedWork work([&] {
    add(3, source, sum);
    copy.copy_from(sum);
    source.set_zero();
  });
  CHECK(sum.to_doubles() == std::vector<double>{10, 20});
  CHECK(source.to_doubles() == std::vector<double>{1, 2});
  work.queue();
  CHECK(sum.to_doubles() == std::vector<double>{13, 26});
  CHECK(copy.to_doubles() == std::vector<double>{13, 26});
  const std::vector<double> next = {100, 200};
  source.copy_from_host(next.data());
  work.queue();
  work.queue();  // adds nothing: the work has set its source to zero
  CHECK(copy.to_doubles() == std::vector<double>{313, 626});
}

TEST_CASE("what only the host can do is not recorded, and the device goes on", ON_DEVICE) {
  const Tensor values = doubles({1, 2});
  const auto refused = [](const char* what) {
    return concat("[device] expected launches and copies within the device, got ", what, ", which cannot be recorded");
  };
  CHECK_THROWS_WITH(RecordedWork([&] { values.to_doubles(); }), refused("a copy to the host"));
  CHECK_THROWS_WITH(RecordedWork([&] { doubles({3}); }), refused("a copy from the host"));
  CHECK_THROWS_WITH(RecordedWork([] { synchronize(); }), refused("a wait"));
  CHECK_THROWS_WITH(RecordedWork([] { Event().record(main_stream()); }), refused("a time"));
  add(1, values, values);
  CHECK(values.to_doubles() == std::vector<double>{2, 4});
}

TEST_CASE("an event that was never recorded is not waited for", ON_DEVICE) {
  Event event;
  CHECK_NOTHROW(event.wait());
  event.record(main_stream());
  CHECK_NOTHROW(event.wait());
}

TEST_CASE("a pool's memory is nobody else's while the pool lives, and everybody's afterwards", ON_DEVICE) {
  const WithMemoryCaching caching(true);
  release_cached_memory();
  const MemoryStatistics before = memory_statistics();
  void* address = nullptr;
  {
    MemoryPool pool;
    {
      const MemoryPool::Use use(pool);
      address = allocate(7000).get();
      const auto again = allocate(7000);
      CHECK(again.get() == address);
      CHECK(pool.held_blocks() == 1);
      CHECK_THROWS_WITH(MemoryPool::Use(pool), ContainsSubstring("expected one memory pool in use at a time"));
    }
    CHECK(pool.held_blocks() == 0);
    CHECK(memory_statistics().in_use_bytes >= before.in_use_bytes + 7000);
    release_cached_memory();
    const auto other = allocate(7000);
    CHECK(other.get() != address);
    const MemoryPool::Use use(pool);
    CHECK(allocate(7000).get() == address);
  }
  CHECK(memory_statistics().in_use_bytes == before.in_use_bytes);
  CHECK(memory_statistics().cached_bytes >= before.cached_bytes + 2 * 7000);
  const auto first = allocate(7000), second = allocate(7000);
  CHECK((first.get() == address || second.get() == address));
}

TEST_CASE("a block that outlives its pool is given back to all", ON_DEVICE) {
  const std::size_t before = memory_statistics().in_use_bytes;
  std::shared_ptr<void> block;
  {
    MemoryPool pool;
    const MemoryPool::Use use(pool);
    block = allocate(300);
  }
  CHECK(memory_statistics().in_use_bytes > before);
  block.reset();
  CHECK(memory_statistics().in_use_bytes == before);
}

TEST_CASE("a pool gives out larger blocks than asked for, but none twice as large", ON_DEVICE) {
  const WithMemoryCaching caching(true);
  MemoryPool pool;
  const MemoryPool::Use use(pool);
  auto large = allocate(7000), larger = allocate(9000);
  const void *const address = large.get(), *const larger_address = larger.get();
  large.reset();
  larger.reset();
  CHECK(allocate(3000).get() != address);
  CHECK(allocate(5000).get() == address);
  const auto first = allocate(5000), second = allocate(5000);
  CHECK(first.get() == address);
  CHECK(second.get() == larger_address);
}

TEST_CASE("a pool's free blocks go back where memory is out, unless recorded work uses them", ON_DEVICE) {
  const WithMemoryCaching caching(true);
  const std::size_t before = memory_statistics().in_use_bytes;
  MemoryPool pool;
  const bool pinned = GENERATE(false, true);
  if (pinned) pool.pin();
  const MemoryPool::Use use(pool);
  allocate(5000);
  const std::size_t with_pool = memory_statistics().in_use_bytes;
  CHECK(with_pool > before);
  CHECK_THROWS_AS(allocate(std::size_t{1} << 60), OutOfMemory);
  CHECK(memory_statistics().in_use_bytes == (pinned ? with_pool : before));
}

TEST_CASE("large blocks are as large as asked for, to 2 MiB", ON_DEVICE) {
  const WithMemoryCaching caching(true);
  const std::size_t before = memory_statistics().in_use_bytes, mebibyte = 1 << 20;
  const auto block = allocate(49 * mebibyte);
  CHECK(memory_statistics().in_use_bytes == before + 50 * mebibyte);
}

TEST_CASE("steps need no memory beside that of their records", ON_DEVICE) {
  const WithMemoryCaching caching(true);
  const WithStepGraphs on(true);
  StepGraphs graphs;
  const auto step = [](std::int64_t count) { return [=] { Tensor::zeros({count}, DType::f64); }; };
  for (int i = 0; i < 3; ++i) graphs.run(1000, step(1000));
  CHECK(graphs.recorded() == 1);
  const std::size_t before = memory_statistics().in_use_bytes;
  reset_peak_memory();
  for (int i = 0; i < 3; ++i) graphs.run(700, step(700));  // a smaller batch
  graphs.run_unrecorded(step(1000));
  StepGraphs others(graphs.memory());
  for (int i = 0; i < 3; ++i) others.run(1000, step(1000));
  CHECK(others.recorded() == 1);
  CHECK(memory_statistics().peak_bytes == before);
}

TEST_CASE("steps are recorded by kind and by fusions, and do what they did", ON_DEVICE) {
  const WithStepGraphs on(true);
  StepGraphs graphs;
  const Tensor value = doubles({1, 1}), sum = doubles({0, 0});
  int calls = 0;
  const auto step = [&] {
    ++calls;
    const Tensor twice = Tensor::zeros({2}, DType::f64);
    add(2, value, twice);
    add(1, twice, sum);
    add(1, sum, value);
  };
  std::vector<double> expected = {1, 0};  // value, sum
  std::vector<Tensor> kept;
  const auto run = [&](std::int64_t kind) {
    graphs.run(kind, step);
    expected[1] += 2 * expected[0];
    expected[0] += expected[1];
    CHECK(value.to_doubles() == std::vector<double>(2, expected[0]));
    CHECK(sum.to_doubles() == std::vector<double>(2, expected[1]));
    // Other work in between takes and keeps memory of the same size, which no step writes.
    kept.push_back(doubles({-1, -1}));
    for (const Tensor& tensor : kept) CHECK(tensor.to_doubles() == std::vector<double>{-1, -1});
  };
  for (int i = 0; i < 5; ++i) run(7);
  CHECK(calls == 2);
  CHECK(graphs.recorded() == 1);
  for (int i = 0; i < 3; ++i) run(8);
  CHECK(calls == 4);
  CHECK(graphs.recorded() == 2);
  run(7);
  CHECK(calls == 4);
  {
    const WithFusion composed(Fusion::sgd, false);
    for (int i = 0; i < 3; ++i) run(7);
    CHECK(calls == 6);
  }
  run(7);
  CHECK(calls == 6);
  CHECK(graphs.refusal().empty());
  const WithStepGraphs off(false);
  run(7);
  CHECK(calls == 7);
}

TEST_CASE("a step that cannot be recorded is done anew each time, and says why", ON_DEVICE) {
  const WithStepGraphs on(true);
  const Tensor sum = doubles({0});
  SECTION("because the host moves memory") {
    StepGraphs graphs;
    for (int i = 1; i <= 4; ++i) graphs.run(0, [&] { add(1, doubles({static_cast<double>(i)}), sum); });
    CHECK(sum.to_doubles() == std::vector<double>{10});
    CHECK(graphs.recorded() == 0);
    CHECK_THAT(graphs.refusal(), ContainsSubstring("a copy from the host, which cannot be recorded"));
  }
  SECTION("because it keeps a tensor") {
    StepGraphs graphs;
    std::vector<Tensor> kept;
    for (int i = 0; i < 3; ++i) graphs.run(0, [&] { kept.push_back(Tensor::zeros({4}, DType::f64)); });
    CHECK(graphs.recorded() == 0);
    CHECK_THAT(graphs.refusal(), ContainsSubstring("expected a step that keeps none of its tensors, got 1"));
  }
}

TEST_CASE("an error of a step is the caller's", ON_DEVICE) {
  const WithStepGraphs on(true);
  StepGraphs graphs;
  for (int i = 0; i < 3; ++i) CHECK_THROWS_WITH(graphs.run(0, [] { fail("step", "no"); }), "[step] no");
}

}  // namespace
}  // namespace omniconv::test
