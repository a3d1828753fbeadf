// Matrix products of a warp on 16-bit values, and how their operands come out of shared memory. For .cu files only.
//
// A warp holds a matrix as a fragment: some elements in each lane, two neighbouring ones in a 32-bit word, the one of
// the lower column (of B: the lower row) in the lower half. With group = lane / 4 and pair = 2 · (lane % 4), as the PTX
// ISA lays them out:
//   A [16, 16]  words (group, pair), (group + 8, pair), (group, pair + 8), (group + 8, pair + 8): row, first column
//   B [16, 8]   words (pair, group), (pair + 8, group): first row, column
//   C [16, 8]   floats (group, pair), (group, pair + 1), (group + 8, pair), (group + 8, pair + 1)
// A's four words are what ldmatrix<4> gives of the 8x8 blocks top left, bottom left, top right, bottom right; B's two
// those of the upper and the lower block if the rows in memory are B's columns, and with transposition if they are
// B's rows.
#pragma once

#include <cstdint>

#include "kernels/half.h"
#include "kernels/simt/simt.h"

namespace omniconv::simt {

/// Two values in a word, rounded to Half.
template <class Half>
OMNI_DEVICE unsigned pack(float low, float high) {
  static_assert(is_half<Half>);
#if OMNICONV_CUDA
  unsigned word;
  if constexpr (std::is_same_v<Half, bf16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  }
  return word;
#else
  return Half(low).bits | unsigned{Half(high).bits} << 16;
#endif
}

/// The two values of a word, the lower one first.
template <class Half>
OMNI_DEVICE Vec<float, 2> unpack(unsigned word) {
  return {{std::bit_cast<Half>(static_cast<std::uint16_t>(word)),
           std::bit_cast<Half>(static_cast<std::uint16_t>(word >> 16))}};
}

#if OMNICONV_CUDA

/// Loads 1, 2 or 4 matrices of 8x8 16-bit elements from shared memory. Lane 8·m + r says where row r of matrix m lies,
/// 16 bytes at a multiple of 16; what the lanes behind say is not used. Word m of a lane holds the two elements of
/// matrix m at (lane / 4, 2 · (lane % 4)) and behind; transposed, at (2 · (lane % 4), lane / 4) and below. All lanes of
/// the warp take part, here and in the products; what they wrote to the rows themselves needs a barrier in between.
template <int Matrices, bool Transposed = false>
OMNI_DEVICE Vec<unsigned, Matrices> ldmatrix(const void* row) {
  static_assert(Matrices == 1 || Matrices == 2 || Matrices == 4);
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  Vec<unsigned, Matrices> words;
  if constexpr (Matrices == 1 && !Transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(words[0]) : "r"(address));
  } else if constexpr (Matrices == 1) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(words[0]) : "r"(address));
  } else if constexpr (Matrices == 2 && !Transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(address));
  } else if constexpr (Matrices == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(address));
  } else if constexpr (!Transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address));
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address));
  }
  return words;
}

/// sums += a · b for fragments of A and B of Half and of C; products are exact and are summed up in f32.
template <class Half>
OMNI_DEVICE void mma_m16n8k16(Vec<float, 4>& sums, const Vec<unsigned, 4>& a, const Vec<unsigned, 2>& b) {
  static_assert(is_half<Half>);
  if constexpr (std::is_same_v<Half, bf16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}

#else

namespace detail {

/// What a lane brings to ldmatrix, and what it takes away.
struct MatrixRow {
  const std::uint16_t* row;
  unsigned* words;
};
/// Throws unless a lane may read a row there.
void check_matrix_row(const void* row);
/// Fills the words of all lanes from the rows of the first 8 · matrices.
void load_matrices(const MatrixRow* const* lanes, int matrices, bool transposed);

/// What a lane brings to a product; the sums are changed in place.
struct MmaOperands {
  const unsigned* a;
  const unsigned* b;
  float* sums;
};
template <class Half>
void multiply_fragments(const MmaOperands* const* lanes);

}  // namespace detail

template <int Matrices, bool Transposed = false>
Vec<unsigned, Matrices> ldmatrix(const void* row, Place where = Place::current()) {
  static_assert(Matrices == 1 || Matrices == 2 || Matrices == 4);
  if (lane_index() < 8 * Matrices) detail::check_matrix_row(row);
  Vec<unsigned, Matrices> words;
  const detail::MatrixRow self{static_cast<const std::uint16_t*>(row), words.v};
  detail::meet_warp(
      &self, "ldmatrix", where,
      [](const detail::MatrixRow* const* lanes, int count) {
        if (count < warp_size) detail::refuse_absent_lane("ldmatrix", count, count);
        detail::load_matrices(lanes, Matrices, Transposed);
      },
      [](const detail::MatrixRow* const*, int) {});
  return words;
}

template <class Half>
void mma_m16n8k16(Vec<float, 4>& sums, const Vec<unsigned, 4>& a, const Vec<unsigned, 2>& b,
                  Place where = Place::current()) {
  static_assert(is_half<Half>);
  const detail::MmaOperands self{a.v, b.v, sums.v};
  detail::meet_warp(
      &self, "mma_m16n8k16", where,
      [](const detail::MmaOperands* const* lanes, int count) {
        if (count < warp_size) detail::refuse_absent_lane("mma_m16n8k16", count, count);
        detail::multiply_fragments<Half>(lanes);
      },
      [](const detail::MmaOperands* const*, int) {});
}

#endif

}  // namespace omniconv::simt
