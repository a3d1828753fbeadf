// The warp's matrix operations on the CPU: the last lane to come does the work of all.
#include <cstring>

#include "kernels/error.h"
#include "kernels/simt/tensor_core.h"

namespace omniconv::simt::detail {

void check_matrix_row(const void* row) {
  constexpr std::size_t bytes = 16;
  if (reinterpret_cast<std::uintptr_t>(row) % bytes != 0) refuse_misaligned("ldmatrix", row, bytes);
  expect(current_thread->block->shared().contains(row, bytes), "ldmatrix", "expected a row in shared memory");
}

void load_matrices(const MatrixRow* const* lanes, int matrices, bool transposed) {
  for (int m = 0; m < matrices; ++m) {
    const MatrixRow* const* rows = lanes + 8 * m;
    for (int lane = 0; lane < warp_size; ++lane) {
      const int group = lane / 4, pair = lane % 4 * 2;
      const unsigned low = transposed ? rows[pair]->row[group] : rows[group]->row[pair];
      const unsigned high = transposed ? rows[pair + 1]->row[group] : rows[group]->row[pair + 1];
      lanes[lane]->words[m] = low | high << 16;
    }
  }
}

template <class Half>
void multiply_fragments(const MmaOperands* const* lanes) {
  float a[16][16], b[16][8], c[16][8];
  for (int lane = 0; lane < warp_size; ++lane) {
    const MmaOperands& own = *lanes[lane];
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j) {
        const Vec<float, 2> of_a = unpack<Half>(own.a[2 * j + i]);
        a[group + 8 * i][pair + 8 * j] = of_a[0];
        a[group + 8 * i][pair + 8 * j + 1] = of_a[1];
        c[group + 8 * i][pair + j] = own.sums[2 * i + j];
      }
      const Vec<float, 2> of_b = unpack<Half>(own.b[i]);
      b[pair + 8 * i][group] = of_b[0];
      b[pair + 8 * i + 1][group] = of_b[1];
    }
  }
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < 16; ++k)
      for (int column = 0; column < 8; ++column) c[row][column] += a[row][k] * b[k][column];
  for (int lane = 0; lane < warp_size; ++lane)
    for (int i = 0; i < 4; ++i) lanes[lane]->sums[i] = c[lane / 4 + 8 * (i / 2)][lane % 4 * 2 + i % 2];
}

template void multiply_fragments<bf16>(const MmaOperands* const*);
template void multiply_fragments<f16>(const MmaOperands* const*);

}  // namespace omniconv::simt::detail
