// What the column kernels share, with several rows of a chunk at once, which the CPU's tuning does not use.
#include "kernels/columns.h"

#include "tests/catch.h"
#include "tests/device_array.h"
#include "tests/random.h"
#include "tests/reference.h"
#include "tests/tolerance.h"

namespace omniconv::test {
namespace {

using kernels::ColumnCut;
using kernels::ColumnPlace;
using kernels::ColumnSums;
using kernels::Lanes;

/// chunk_sums[chunk, column] = Σ over the chunk's rows; visits[row, column] = how often an element was read.
template <int W>
OMNI_KERNEL void chunk_sums_kernel(ColumnCut cut, const float* input, float* chunk_sums, int* visits) {
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  const auto sums = kernels::combine_rows(kernels::sum_rows<1, float, W>(place, [&](std::int64_t row, auto* sum) {
    const std::int64_t at = row * cut.columns + place.column;
    sum[0] += Lanes<float, W>::load(input + at);
    for (int i = 0; i < W; ++i) ++visits[at + i];
  }));
  if (!place.is_first) return;
  for (int i = 0; i < W; ++i)
    chunk_sums[place.chunk * cut.columns + place.column + i] = static_cast<float>(sums.sum[0][i]);
}

void check_chunk_sums(const ColumnCut& cut, simt::Dim3 block) {
  constexpr int W = 2;
  CAPTURE(cut.groups, cut.rows, cut.columns, cut.chunk_rows, cut.chunks, block.x, block.y);
  const std::int64_t count = cut.groups * cut.rows * cut.columns, chunks = cut.groups * cut.chunks;
  const auto values = uniform_values<float>(count, 1);
  const DeviceArray<float> input(values), actual(chunks * cut.columns);
  const DeviceArray<int> visits(count);
  const std::int64_t side_by_side = (cut.columns / W + block.x - 1) / block.x;
  simt::launch(chunk_sums_kernel<W>, {static_cast<unsigned>(side_by_side * chunks)}, block,
               simt::SharedSize{}.array<ColumnSums<1, W>>(block.x * (block.y / 2)).bytes(), main_stream(), cut, input,
               actual, visits);
  std::vector<double> expected(static_cast<std::size_t>(chunks * cut.columns));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = i / cut.columns;
    const std::int64_t chunk = row / cut.rows * cut.chunks + row % cut.rows / cut.chunk_rows;
    expected[chunk * cut.columns + i % cut.columns] += values[i];
  }
  require_close(actual.to_host(), expected, Tolerance::rounding<float>());
  CHECK(visits.to_host() == std::vector<int>(static_cast<std::size_t>(count), 1));
}

TEST_CASE("threads of a block share a chunk's rows and combine what they found", KERNEL_TAGS) {
  for (const simt::Dim3 block : {simt::Dim3{1, 1}, {1, 8}, {2, 16}, {4, 64}, {32, 8}, {4, 1}}) {
    check_chunk_sums({1, 1000, 16, 300, 4}, block);
    check_chunk_sums({3, 50, 10, 7, 8}, block);
    check_chunk_sums(kernels::whole_columns(5, 3, 66), block);
    check_chunk_sums(kernels::whole_columns(1, 4000, 2), block);
  }
}

TEST_CASE("rows are cut into chunks that cover them, by the shape alone", "[kernels]") {
  for (std::int64_t rows : {1, 2, 100, 4096, 131072, 50'000'000})
    for (std::int64_t columns : {1, 10, 16, 512, 5000}) {
      const ColumnCut cut = kernels::cut_columns<float>(1, rows, columns);
      CAPTURE(rows, columns, cut.chunk_rows, cut.chunks);
      CHECK(cut.chunks <= kernels::column_tuning.max_chunks);
      CHECK(cut.chunks * cut.chunk_rows >= rows);
      CHECK((cut.chunks - 1) * cut.chunk_rows < rows);
    }
}

}  // namespace
}  // namespace omniconv::test
