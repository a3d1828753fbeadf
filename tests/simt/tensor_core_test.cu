// Matrix products of a warp and the loads of their operands: against plain loops, and against the PTX ISA's layouts.
#include "kernels/simt/tensor_core.h"

#include <array>

#include "tests/simt/device_memory.h"

namespace omniconv::simt::test {
namespace {

using omniconv::test::ContainsSubstring;

constexpr int pitch = 24;  // elements between rows in shared memory: an odd multiple of 16 bytes

// Lane l names row (l · 5) % 32 of a table in shared memory.
template <int Matrices, bool Transposed>
OMNI_KERNEL void load_rows(const std::uint16_t* table, unsigned* words) {
  std::uint16_t* const shared = shared_array<std::uint16_t, 32 * pitch>();
  for (int i = thread_rank(); i < 32 * pitch; i += warp_size) shared[i] = table[i];
  barrier();
  const auto loaded = ldmatrix<Matrices, Transposed>(shared + lane_index() * 5 % 32 * pitch);
  for (int m = 0; m < Matrices; ++m) words[lane_index() * Matrices + m] = loaded[m];
}

template <int Matrices, bool Transposed>
void check_ldmatrix() {
  std::vector<std::uint16_t> table(32 * pitch);
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<std::uint16_t>(i);
  DeviceArray<std::uint16_t> device_table(table);
  DeviceArray<unsigned> words(32 * Matrices);
  launch(load_rows<Matrices, Transposed>, {1}, {32}, 0, test_stream, device_table.data(), words.data());
  const auto element = [&](int matrix, int row, int column) {
    return unsigned{table[static_cast<std::size_t>((8 * matrix + row) * 5 % 32 * pitch + column)]};
  };
  std::vector<unsigned> expected;
  for (int lane = 0; lane < 32; ++lane)
    for (int m = 0; m < Matrices; ++m) {
      const int group = lane / 4, pair = lane % 4 * 2;
      expected.push_back(Transposed ? element(m, pair, group) | element(m, pair + 1, group) << 16
                                    : element(m, group, pair) | element(m, group, pair + 1) << 16);
    }
  INFO(Matrices << " matrices, transposed: " << Transposed);
  CHECK(words.values() == expected);
}

TEST_CASE("ldmatrix gives every lane the elements that the PTX ISA says", ON_DEVICE) {
  check_ldmatrix<1, false>();
  check_ldmatrix<2, false>();
  check_ldmatrix<4, false>();
  check_ldmatrix<1, true>();
  check_ldmatrix<2, true>();
  check_ldmatrix<4, true>();
}

// One product per warp, of A [16, 16], B [16, 8] and C [16, 8] in global memory, which every lane reads and writes
// element by element.
template <class Half>
OMNI_KERNEL void multiply_by_elements(const float* a, const float* b, float* c) {
  const int group = lane_index() / 4, pair = lane_index() % 4 * 2;
  a += warp_index() * 16 * 16;
  b += warp_index() * 16 * 8;
  c += warp_index() * 16 * 8;
  Vec<unsigned, 4> a_words;
  Vec<unsigned, 2> b_words;
  Vec<float, 4> sums;
  for (int i = 0; i < 4; ++i) {
    const float* const at = a + (group + i % 2 * 8) * 16 + pair + i / 2 * 8;
    a_words[i] = pack<Half>(at[0], at[1]);
    sums[i] = c[(group + i / 2 * 8) * 8 + pair + i % 2];
  }
  for (int i = 0; i < 2; ++i) {
    const float* const at = b + (pair + i * 8) * 8 + group;
    b_words[i] = pack<Half>(at[0], at[8]);
  }
  mma_m16n8k16<Half>(sums, a_words, b_words);
  for (int i = 0; i < 4; ++i) c[(group + i / 2 * 8) * 8 + pair + i % 2] = sums[i];
}

// The same with operands from shared memory; B lies there by columns, or by rows and is transposed on the way.
template <class Half, bool ByRows>
OMNI_KERNEL void multiply_from_shared(const float* a, const float* b, float* c) {
  Half* const a_rows = shared_array<Half, 16 * pitch>();
  Half* const b_lines = shared_array<Half, 16 * pitch, 1>();
  const int lane = lane_index();
  for (int i = lane; i < 16 * 16; i += warp_size) a_rows[i / 16 * pitch + i % 16] = Half(a[i]);
  for (int i = lane; i < 16 * 8; i += warp_size)
    b_lines[ByRows ? i / 8 * pitch + i % 8 : i % 8 * pitch + i / 8] = Half(b[i]);
  warp_barrier();
  const Vec<unsigned, 4> a_words = ldmatrix<4>(a_rows + lane % 16 * pitch + lane / 16 * 8);
  const int line = lane % 16;
  const Vec<unsigned, 2> b_words =
      ldmatrix<2, ByRows>(ByRows ? b_lines + line * pitch : b_lines + line % 8 * pitch + line / 8 * 8);
  const int group = lane / 4, pair = lane % 4 * 2;
  Vec<float, 4> sums;
  for (int i = 0; i < 4; ++i) sums[i] = c[(group + i / 2 * 8) * 8 + pair + i % 2];
  mma_m16n8k16<Half>(sums, a_words, b_words);
  for (int i = 0; i < 4; ++i) c[(group + i / 2 * 8) * 8 + pair + i % 2] = sums[i];
}

template <class Half>
void check_products(unsigned seed) {
  constexpr int warps = 3;
  const auto a = random_values<float>(warps * 16 * 16, seed), b = random_values<float>(warps * 16 * 8, seed + 1),
             c = random_values<float>(warps * 16 * 8, seed + 2);
  std::vector<float> expected = c;
  for (int w = 0; w < warps; ++w)
    for (int row = 0; row < 16; ++row)
      for (int column = 0; column < 8; ++column)
        for (int k = 0; k < 16; ++k)
          expected[(w * 16 + row) * 8 + column] += a[(w * 16 + row) * 16 + k] * b[(w * 16 + k) * 8 + column];
  DeviceArray<float> device_a(a), device_b(b), device_c(c);
  launch(multiply_by_elements<Half>, {1}, {warps * 32}, 0, test_stream, device_a.data(), device_b.data(),
         device_c.data());
  CHECK(device_c.values() == expected);
  expected.resize(16 * 8);
  for (auto kernel : {multiply_from_shared<Half, false>, multiply_from_shared<Half, true>}) {
    DeviceArray<float> device_sums(c);
    launch(kernel, {1}, {32}, 0, test_stream, device_a.data(), device_b.data(), device_sums.data());
    std::vector<float> sums = device_sums.values();
    sums.resize(16 * 8);
    CHECK(sums == expected);
  }
}

TEST_CASE("a warp's matrix product equals a loop", ON_DEVICE) {
  const unsigned seed = fresh_seed();
  INFO("seed " << seed);
  check_products<bf16>(seed);
  check_products<f16>(seed);
#if !OMNICONV_CUDA
  for (unsigned order = 0; order < 4; ++order) {
    const ThreadOrder shuffled(order);
    check_products<bf16>(seed);
  }
#endif
}

template <class Half>
OMNI_KERNEL void pack_and_unpack(const float* in, unsigned* words, float* out) {
  const int i = thread_rank();
  words[i] = pack<Half>(in[2 * i], in[2 * i + 1]);
  const Vec<float, 2> values = unpack<Half>(words[i]);
  out[2 * i] = values[0];
  out[2 * i + 1] = values[1];
}

TEST_CASE("a word holds the lower value in its lower half, rounded to nearest even", ON_DEVICE) {
  DeviceArray<float> in({1.0f, -2.0f, 1.00390625f, 1.01171875f}), out(4);
  DeviceArray<unsigned> words(2);
  launch(pack_and_unpack<bf16>, {1}, {2}, 0, test_stream, in.data(), words.data(), out.data());
  CHECK(words.values() == std::vector<unsigned>{0xc0003f80u, 0x3f823f80u});
  CHECK(out.values() == std::vector<float>{1, -2, 1, 1.015625f});
  launch(pack_and_unpack<f16>, {1}, {2}, 0, test_stream, in.data(), words.data(), out.data());
  CHECK(words.values() == std::vector<unsigned>{0xc0003c00u, 0x3c0c3c04u});
  CHECK(out.values() == std::vector<float>{1, -2, 1.00390625f, 1.01171875f});
}

#if !OMNICONV_CUDA

OMNI_KERNEL void load_shifted(int shifted_lane, int shift) {
  std::uint16_t* const shared = shared_array<std::uint16_t, 33 * 8>();
  const int lane = lane_index();
  ldmatrix<2>(shared + lane * 8 + (lane == shifted_lane ? shift : 0));
}
OMNI_KERNEL void load_from_global(const std::uint16_t* rows) {
  ldmatrix<4>(rows + lane_index() * 8);
}
OMNI_KERNEL void multiply_zeros(int leaver) {
  Vec<float, 4> sums = {};
  if (thread_rank() != leaver) mma_m16n8k16<bf16>(sums, {}, {});
}

TEST_CASE("a warp's matrix operations refuse what is undefined on a GPU", "[simt]") {
  const auto error = [](auto kernel, unsigned block, auto... arguments) {
    return error_of([=] { launch(kernel, {1}, {block}, 0, test_stream, arguments...); });
  };
  CHECK(error(load_shifted, 32, 0, 0) == "");
  CHECK(error(load_shifted, 32, 15, 4) ==
        "[ldmatrix] expected an address that is a multiple of 16, got one that is 8 behind one");
  CHECK(error(load_shifted, 32, 16, 4) == "");  // the rows of two matrices are those of 16 lanes
  DeviceArray<std::uint16_t> global(32 * 8);
  CHECK(error(load_from_global, 32, global.data()) == "[ldmatrix] expected a row in shared memory");
  CHECK(error(load_shifted, 8, 0, 0) == "[ldmatrix] expected to read lanes of a warp of 8 threads, got lane 8");
  CHECK(error(multiply_zeros, 64, -1) == "");
  CHECK(error(multiply_zeros, 40, -1) == "[mma_m16n8k16] expected to read lanes of a warp of 8 threads, got lane 8");
  CHECK_THAT(error(multiply_zeros, 64, 35),
             ContainsSubstring("[mma_m16n8k16] expected all lanes of warp 1 at tensor_core_test.cu:") &&
                 ContainsSubstring("got lane 3 that has returned"));
}

// The rows are on their way when the matrix is loaded: too early, or in time.
OMNI_KERNEL void load_copied(const std::uint16_t* rows, bool wait, unsigned* words) {
  std::uint16_t* const shared = shared_array<std::uint16_t, 8 * 8>();
  const int lane = lane_index();
  if (lane < 8) copy_async<16>(shared + lane * 8, rows + lane * 8);
  copy_commit();
  if (wait) copy_wait<0>();
  warp_barrier();
  words[lane] = ldmatrix<1>(shared + lane % 8 * 8)[0];
}

TEST_CASE("ldmatrix of rows that have not arrived gives NaN", "[simt]") {
  DeviceArray<std::uint16_t> rows(8 * 8, 7);
  DeviceArray<unsigned> words(32);
  launch(load_copied, {1}, {32}, 0, test_stream, rows.data(), false, words.data());
  CHECK(words.values() == std::vector<unsigned>(32, 0xffffffffu));
  launch(load_copied, {1}, {32}, 0, test_stream, rows.data(), true, words.data());
  CHECK(words.values() == std::vector<unsigned>(32, 0x00070007u));
}

#endif

}  // namespace
}  // namespace omniconv::simt::test
