// Tiles of the implicit products that plain convolution kernels are made of. For .cu files only.
#pragma once

#include <cstdint>

#include "kernels/simt/simt.h"

namespace omniconv::kernels {

inline constexpr int tile_inner = 16;  // depth of the tiles in shared memory
inline constexpr int thread_tile = 4;  // rows and columns of the result held by one thread

template <int Rows, int Columns>
struct Tile {
  static constexpr int rows = Rows;
  static constexpr int columns = Columns;
  static constexpr int threads = (Rows / thread_tile) * (Columns / thread_tile);

  OMNI_DEVICE static int first_row() { return simt::thread_rank() / (Columns / thread_tile) * thread_tile; }
  OMNI_DEVICE static int first_column() { return simt::thread_rank() % (Columns / thread_tile) * thread_tile; }

  template <class T>
  static std::size_t shared_bytes() {
    return simt::SharedSize{}.array<T>(tile_inner * Rows).template array<T>(tile_inner * Columns).bytes();
  }

  /// sums[r][c] += Σ_k a(k, r) · b(k, c) over the block's tile; a and b load elements from anywhere and are
  /// asked once per element and block.
  template <class T, class LoadA, class LoadB>
  OMNI_DEVICE static void multiply(T* shared_a, T* shared_b, std::int64_t inner, const LoadA& a, const LoadB& b,
                                   T (&sums)[thread_tile][thread_tile]) {
    const int row = first_row();
    const int column = first_column();
    for (std::int64_t k0 = 0; k0 < inner; k0 += tile_inner) {
      const int depth = static_cast<int>(inner - k0 < tile_inner ? inner - k0 : tile_inner);
      for (int i = simt::thread_rank(); i < tile_inner * Rows; i += threads)
        shared_a[(i % tile_inner) * Rows + i / tile_inner] =
            i % tile_inner < depth ? a(k0 + i % tile_inner, i / tile_inner) : T(0);
      for (int i = simt::thread_rank(); i < tile_inner * Columns; i += threads)
        shared_b[(i % tile_inner) * Columns + i / tile_inner] =
            i % tile_inner < depth ? b(k0 + i % tile_inner, i / tile_inner) : T(0);
      simt::barrier();
      for (int k = 0; k < depth; ++k) {
        for (int r = 0; r < thread_tile; ++r) {
          const T left = shared_a[k * Rows + row + r];
          for (int c = 0; c < thread_tile; ++c) sums[r][c] += left * shared_b[k * Columns + column + c];
        }
      }
      simt::barrier();
    }
  }
};

/// A block's share of a grouped product: which group, and the first column within it.
struct GroupTile {
  std::int64_t group, first;
};

OMNI_DEVICE GroupTile group_tile(std::int64_t block, std::int64_t extent, int tile) {
  const std::int64_t tiles = (extent + tile - 1) / tile;
  return {block / tiles, block % tiles * tile};
}

inline unsigned blocks(std::int64_t extent, std::int64_t tile) {
  return static_cast<unsigned>((extent + tile - 1) / tile);
}

inline constexpr std::int64_t narrow_channels = 16;

/// Calls body(Tile) with a tile whose columns suit `columns`: narrow nets would leave a wide tile idle.
template <class Body>
void with_tile(std::int64_t columns, Body&& body) {
  if (columns <= narrow_channels)
    body(Tile<32, 16>{});
  else
    body(Tile<64, 64>{});
}

/// sums[i] = Σ_j partials[i, j], in order.
template <class T>
void sum_partials(const T* partials, std::int64_t parts, T* sums, std::int64_t count, Stream stream) {
  simt::for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t index) {
    T sum = 0;
    for (std::int64_t j = 0; j < parts; ++j) sum += partials[index * parts + j];
    sums[index] = sum;
  });
}

}  // namespace omniconv::kernels
