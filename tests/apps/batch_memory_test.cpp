#include "apps/training/batch_memory.h"

#include "tests/catch.h"
#include "tests/settings.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

TEST_CASE("a batch that does not fit names the memory and the batch size to try") {
  const WithMemoryCaching caching(true);
  { const auto cached = allocate(3000); }
  const auto refused = [](std::int64_t batch_size) {
    return message_of<OutOfMemory>([&] { within_memory(batch_size, [] { allocate(std::size_t{1} << 60); }); });
  };
  const MemoryStatistics before = memory_statistics();
  REQUIRE(before.cached_bytes > 0);
  CHECK_THAT(refused(128),
             StartsWith("[allocator] expected 1152921504606846976 more bytes of ") &&
                 ContainsSubstring(concat("(", before.in_use_bytes, " in use, ", before.cached_bytes, " cached, ")) &&
                 ContainsSubstring(": try --batch-size 64"));
  CHECK_THAT(refused(1), ContainsSubstring(": try a smaller --width or a device with more memory"));
  CHECK(within_memory(8, [] { return 5; }) == 5);
}

}  // namespace
}  // namespace omniconv::test
