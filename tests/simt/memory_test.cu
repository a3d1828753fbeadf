// Shared memory, vectors and asynchronous copies.
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>

#include "kernels/simt/sanitizer.h"
#include "tests/simt/device_memory.h"

namespace omniconv::simt::test {
namespace {

using omniconv::test::ContainsSubstring;

// Two dynamic and three static arrays, two of them of the same type and size, all of which must lie apart.
OMNI_KERNEL void use_many_arrays(int n, int* out) {
  SharedMemory shared;
  double* const doubles = shared.array<double>(n);
  char* const chars = shared.array<char>(n);
  int* const first = shared_array<int, 64>();
  int* const second = shared_array<int, 64, 1>();
  float* const floats = shared_array<float, 64>();
  const int i = thread_rank();
  doubles[i] = i;
  chars[i] = static_cast<char>(i + 1);
  first[i] = i + 2;
  second[i] = i + 3;
  floats[i] = static_cast<float>(i + 4);
  barrier();
  const int j = 63 - i;
  out[i] = static_cast<int>(doubles[j]) + 10 * chars[j] + 100 * first[j] + 1000 * second[j] +
           10'000 * static_cast<int>(floats[j]);
}

TEST_CASE("dynamic and static shared arrays lie apart", ON_DEVICE) {
  DeviceArray<int> out(64);
  const std::size_t bytes = SharedSize{}.array<double>(64).array<char>(64).bytes();
  CHECK(bytes == 64 * 9);
  launch(use_many_arrays, {1}, {64}, bytes, test_stream, 64, out.data());
  std::vector<int> expected(64);
  for (int i = 0; i < 64; ++i) {
    const int j = 63 - i;
    expected[i] = j + 10 * (j + 1) + 100 * (j + 2) + 1000 * (j + 3) + 10'000 * (j + 4);
  }
  CHECK(out.values() == expected);
}

TEST_CASE("SharedSize counts what SharedMemory carves", "[simt]") {
  CHECK(SharedSize{}.bytes() == 0);
  CHECK(SharedSize{}.array<float>(3).bytes() == 16);
  CHECK(SharedSize{}.array<char>(17).array<double>(1).bytes() == 48);
}

OMNI_KERNEL void use_largest_memory(int n, float* out) {
  SharedMemory shared;
  float* const values = shared.array<float>(n);
  for (int i = thread_rank(); i < n; i += static_cast<int>(block_extent().x)) values[i] = static_cast<float>(i);
  barrier();
  out[thread_rank()] = values[n - 1 - thread_rank()];
}

TEST_CASE("a kernel can have more than 48 KiB of dynamic shared memory", ON_DEVICE) {
  constexpr int n = 160 * 1024 / sizeof(float);  // what sm_80 has to offer
  DeviceArray<float> out(64);
  launch(use_largest_memory, {2}, {64}, SharedSize{}.array<float>(n).bytes(), test_stream, n, out.data());
  for (int i = 0; i < 64; ++i) REQUIRE(out.values()[i] == static_cast<float>(n - 1 - i));
}

template <class T>
OMNI_KERNEL void add_vectors(const T* a, const T* b, T* out) {
  constexpr int width = vector_width<T>;
  const int i = thread_rank() * width;
  Vec<T, width> sum = load_vector<width>(a + i);
  const Vec<T, width> other = load_vector<width>(b + i);
  for (int j = 0; j < width; ++j) sum[j] += other[j];
  store_vector(out + i, sum);
}

template <class T>
void check_vectors() {
  constexpr int n = 37 * vector_width<T>;
  const std::vector<T> a = random_values<T>(n, 1), b = random_values<T>(n, 2);
  DeviceArray<T> device_a(a), device_b(b), out(n);
  launch(add_vectors<T>, {1}, {37}, 0, test_stream, device_a.data(), device_b.data(), out.data());
  std::vector<T> expected(n);
  for (int i = 0; i < n; ++i) expected[i] = static_cast<T>(a[i] + b[i]);
  CHECK(out.values() == expected);
}

TEST_CASE("vectors are loaded and stored", ON_DEVICE) {
  check_vectors<float>();
  check_vectors<double>();
  check_vectors<std::int16_t>();
}

// A block copies rows of its input ahead of their use, `depth - 1` groups in flight.
constexpr int depth = 3;

template <int Bytes>
OMNI_KERNEL void copy_rows(int rows, const float* in, float* out) {
  constexpr int each = Bytes / sizeof(float);
  float* const stages = shared_array<float, depth * 32 * each>();
  const int row_size = 32 * each, i = thread_rank() * each;
  const auto start = [&](int row) {
    if (row < rows) copy_async<Bytes>(stages + row % depth * row_size + i, in + row * row_size + i);
    copy_commit();
  };
  for (int row = 0; row < depth - 1; ++row) start(row);
  for (int row = 0; row < rows; ++row) {
    copy_wait<depth - 2>();
    barrier();  // all have their part of this row, and all are done with the stage that is filled next
    start(row + depth - 1);
    for (int j = 0; j < each; ++j) out[row * row_size + i + j] = stages[row % depth * row_size + row_size - 1 - i - j];
  }
}

template <int Bytes>
void check_copy_rows(int rows) {
  const int row_size = 32 * Bytes / static_cast<int>(sizeof(float));
  const std::vector<float> in = random_values<float>(rows * row_size, 9);
  DeviceArray<float> device_in(in), out(in.size());
  launch(copy_rows<Bytes>, {1}, {32}, 0, test_stream, rows, device_in.data(), out.data());
  std::vector<float> expected(in.size());
  for (int row = 0; row < rows; ++row)
    for (int i = 0; i < row_size; ++i) expected[row * row_size + i] = in[row * row_size + row_size - 1 - i];
  CHECK(out.values() == expected);
}

TEST_CASE("a pipeline of asynchronous copies delivers every row", ON_DEVICE) {
  for (int rows : {1, 2, 3, 10}) {
    check_copy_rows<4>(rows);
    check_copy_rows<8>(rows);
    check_copy_rows<16>(rows);
  }
}

OMNI_KERNEL void copy_valid_ones(const float* in, float* out) {
  float* const shared = shared_array<float, 32>();
  const int i = thread_rank();
  copy_async<4>(shared + i, i % 3 == 0 ? in + i : nullptr, i % 3 == 0);
  copy_commit();
  copy_wait<0>();
  out[i] = shared[i];
}

TEST_CASE("an asynchronous copy that is not valid delivers zeros", ON_DEVICE) {
  DeviceArray<float> in(32, 5.0f), out(32, 7.0f);
  launch(copy_valid_ones, {1}, {32}, 0, test_stream, static_cast<const float*>(in.data()), out.data());
  for (int i = 0; i < 32; ++i) REQUIRE(out.values()[i] == (i % 3 == 0 ? 5.0f : 0.0f));
}

#if !OMNICONV_CUDA

// Looks at the destinations of three copies, the last of which is committed late, at each step.
OMNI_KERNEL void watch_copies(const float* in, float* seen) {
  float* const shared = shared_array<float, 3>();
  for (int i = 0; i < 3; ++i) shared[i] = 1;
  const auto look = [&] {
    for (int i = 0; i < 3; ++i) *seen++ = shared[i];
  };
  look();
  copy_async<4>(shared, in);
  look();
  copy_commit();
  copy_async<4>(shared + 1, in + 1);
  copy_commit();
  copy_async<4>(shared + 2, in + 2);
  look();
  copy_wait<2>();
  look();
  copy_wait<1>();
  look();
  copy_wait<0>();
  look();
  copy_commit();
  look();
  copy_wait<0>();
  look();
}

TEST_CASE("an asynchronous copy arrives at the wait that covers its group, not before", "[simt]") {
  const std::vector<float> in = {5, 6, 7};
  std::vector<float> seen(24);
  launch(watch_copies, {1}, {1}, 0, test_stream, in.data(), seen.data());
  const float expected[8][3] = {{1, 1, 1},     {NAN, 1, 1}, {NAN, NAN, NAN}, {NAN, NAN, NAN},
                                {5, NAN, NAN}, {5, 6, NAN}, {5, 6, NAN},     {5, 6, 7}};
  for (int step = 0; step < 8; ++step)
    for (int i = 0; i < 3; ++i) {
      const float value = seen[step * 3 + i];
      INFO("step " << step << ", copy " << i << ": " << value);
      CHECK((std::isnan(expected[step][i]) ? std::isnan(value) : value == expected[step][i]));
    }
}

template <class T>
OMNI_KERNEL void read_unwritten(bool* nan) {
  SharedMemory shared;
  T* const dynamic = shared.array<T>(8);
  T* const fixed = shared_array<T, 8>();
  const int i = thread_rank();
  nan[i] = std::isnan(dynamic[i]) && std::isnan(fixed[i]);
  dynamic[i] = fixed[i] = 0;  // which the next block must not see
}

TEST_CASE("shared memory is NaN in every block until it is written", "[simt]") {
  bool nan[8] = {};
  for (auto kernel : {read_unwritten<float>, read_unwritten<double>}) {
    launch(kernel, {3}, {8}, 64, test_stream, nan);
    for (bool is_nan : nan) CHECK(is_nan);
  }
}

OMNI_KERNEL void carve(std::size_t bytes) {
  SharedMemory shared;
  shared.array<char>(bytes);
}

OMNI_KERNEL void carve_differently() {
  SharedMemory shared;
  shared.array<float>(thread_rank() == 9 ? 8 : 4);
}

template <int Floats>
OMNI_KERNEL void take_static() {
  shared_array<float, Floats>();
}

OMNI_KERNEL void take_twice() {
  shared_array<float, 8>();
  shared_array<float, 8>();
}

TEST_CASE("two static arrays that would be one on a GPU are refused", "[simt]") {
  CHECK_THAT(error_of([] { launch(take_twice, {1}, {1}, 0, test_stream); }),
             ContainsSubstring(
                 "[shared] expected shared_array()s of the same type and size to have different tags, got those at "
                 "memory_test.cu:") &&
                 ContainsSubstring(" and memory_test.cu:"));
}

TEST_CASE("shared memory beyond the limits is refused", "[simt]") {
  const auto error = [](auto kernel, std::size_t shared_bytes, auto... arguments) {
    return error_of([=] { launch(kernel, {1}, {32}, shared_bytes, test_stream, arguments...); });
  };
  CHECK(error(carve, 1024, 1024) == "");
  CHECK(error(carve, 1024, 1025) ==
        "[shared] expected the launch to give at least 1025 bytes of dynamic shared memory, got 1024");
  CHECK(error(carve, max_shared_bytes, max_shared_bytes) == "");
  CHECK(error(carve_differently, 1024) ==
        "[shared] expected all threads to carve the same arrays, got 32 bytes where another thread has 16");
  CHECK(error(take_static<12 * 1024>, 0) == "");
  CHECK(error(take_static<12 * 1024 + 1>, 0) == "[shared] expected at most 49152 bytes in shared_array()s, got 49168");
  CHECK(error(take_static<4>, max_shared_bytes - 15) ==
        "[shared] expected at most 232448 bytes of shared memory per block, got 232449");
}

OMNI_KERNEL void load_from(const float* from) {
  load_vector<4>(from);
}
OMNI_KERNEL void store_to(float* to) {
  store_vector(to, Vec<float, 4>{});
}
OMNI_KERNEL void copy_from(const float* from, int offset) {
  float* const shared = shared_array<float, 64>();
  copy_async<16>(shared + offset, from);
}
OMNI_KERNEL void copy_to(float* to, const float* from) {
  copy_async<16>(to, from);
}

TEST_CASE("misaligned vectors and copies are refused", "[simt]") {
  DeviceArray<float> memory(64);
  float* const p = memory.data();
  const auto error = [](auto kernel, auto... arguments) {
    return error_of([=] { launch(kernel, {1}, {1}, 0, test_stream, arguments...); });
  };
  CHECK(error(load_from, p + 4) == "");
  CHECK(error(load_from, p + 1) ==
        "[load_vector] expected an address that is a multiple of 16, got one that is 4 behind one");
  CHECK(error(store_to, p + 8) == "");
  CHECK(error(store_to, p + 6) ==
        "[store_vector] expected an address that is a multiple of 16, got one that is 8 behind one");
  CHECK(error(copy_from, p, 4) == "");
  CHECK(error(copy_from, p + 3, 4) ==
        "[copy_async] expected an address that is a multiple of 16, got one that is 12 behind one");
  CHECK(error(copy_from, p, 5) ==
        "[copy_async] expected an address that is a multiple of 16, got one that is 4 behind one");
  CHECK(error(copy_to, p, p + 4) == "[copy_async] expected a destination in shared memory");
}

// Reads or writes `index`, and waits, so that the access happens on a fiber of several.
OMNI_KERNEL void access_shared(int index, bool dynamic, bool write, float* out) {
  SharedMemory shared;
  float* const values = dynamic ? shared.array<float>(40) : shared_array<float, 40>();
  barrier();
  if (thread_rank() == 17) {
    if (write) {
      values[index] = 1;
    } else {
      *out = values[index];
    }
  }
  barrier();
}

/// Runs `work` in a child process and returns what it wrote to stderr, with its way of ending.
template <class Work>
std::pair<std::string, int> run_in_child(const Work& work) {
  int ends[2];
  if (pipe(ends) != 0) fail("test", "no pipe");
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    work();
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return {text, status};
}

TEST_CASE("the address sanitizer sees an index out of a shared array", "[simt]") {
  if (!OMNICONV_ADDRESS_SANITIZER) {
    WARN("skipped: this build has no address sanitizer");
    return;
  }
  for (bool dynamic : {false, true})
    for (bool write : {false, true})
      for (int index : {-1, 40, 50, 20}) {
        const auto [report, status] = run_in_child([=] {
          float out = 0;
          launch(access_shared, {1}, {64}, 160, test_stream, index, dynamic, write, &out);
        });
        INFO("index " << index << ", dynamic " << dynamic << ", write " << write << ": " << report);
        if (index == 20) {
          CHECK(report == "");
          CHECK(status == 0);
        } else {
          CHECK_THAT(report, ContainsSubstring("AddressSanitizer: use-after-poison"));
          CHECK(status != 0);
        }
      }
}

TEST_CASE("a write behind a shared array is noticed without a sanitizer too", "[simt]") {
  if (OMNICONV_ADDRESS_SANITIZER) return;  // it stops the program instead, as tested above
  float out = 0;
  for (bool dynamic : {false, true}) {
    const auto error = [&](int index, bool write) {
      return error_of([&] { launch(access_shared, {1}, {64}, 160, test_stream, index, dynamic, write, &out); });
    };
    CHECK(error(39, true) == "");
    CHECK(error(40, false) == "");
    CHECK(error(40, true) ==
          "[shared] expected writes inside the shared arrays, got one behind the array of 160 bytes");
    CHECK(error(39, true) == "");
  }
}

#endif

}  // namespace
}  // namespace omniconv::simt::test
