// Launches that are kept on the CPU, as the capture of a stream keeps them on a GPU.
#include <vector>

#include "tests/simt/device_memory.h"

#if !OMNICONV_CUDA

namespace omniconv::simt::test {
namespace {

OMNI_KERNEL void add_number(int* target, int number) {
  target[block_index().x] += number;
}

TEST_CASE("a recording keeps launches with their arguments, and runs them on the memory as it is then", "[simt]") {
  DeviceArray<int> values(std::vector<int>{1, 2, 3});
  std::vector<int> order;
  int number = 10;
  const Recording recording([&] {
    launch(add_number, {3}, {1}, 0, test_stream, values.data(), number);
    for_each_index(3, test_stream, [target = values.data()](std::int64_t i) { target[i] *= 2; });
    for_each_element(1, 3, test_stream, [target = values.data()](std::int64_t, std::int64_t c) { target[c] -= 1; });
    order.push_back(1);  // what the host does by itself is done at once, and once
  });
  number = 99;
  CHECK(values.values() == std::vector{1, 2, 3});
  recording.run();
  CHECK(values.values() == std::vector{21, 23, 25});
  recording.run();
  CHECK(values.values() == std::vector{61, 65, 69});
  CHECK(order == std::vector{1});

  launch(add_number, {3}, {1}, 0, test_stream, values.data(), 1);  // behind it all is as before
  CHECK(values.values() == std::vector{62, 66, 70});
}

TEST_CASE("a recording that fails leaves nothing behind", "[simt]") {
  DeviceArray<int> values(std::vector<int>{1});
  CHECK(error_of([&] {
          const Recording outer([&] { const Recording inner([] {}); });
        }) == "[recording] expected one recording at a time, got one inside of another");
  CHECK(error_of([] { const Recording recording([] { refuse_in_recording("here", "a wait"); }); }) ==
        "[here] expected launches and copies within the device, got a wait, which cannot be recorded");
  CHECK_NOTHROW(refuse_in_recording("here", "a wait"));
  launch(add_number, {1}, {1}, 0, test_stream, values.data(), 1);
  CHECK(values.values() == std::vector{2});
}

TEST_CASE("launches of a recording are checked when they are made, and grids of no blocks are none", "[simt]") {
  DeviceArray<int> values(std::vector<int>{1});
  CHECK_THROWS_AS(Recording([&] { launch(add_number, {1}, {2048}, 0, test_stream, values.data(), 1); }), Error);
  const Recording recording([&] { launch(add_number, {0}, {1}, 0, test_stream, values.data(), 1); });
  recording.run();
  CHECK(values.values() == std::vector{1});
}

}  // namespace
}  // namespace omniconv::simt::test

#endif
