// Tiles of the implicit products that plain convolution kernels are made of. For .cu files only.
#pragma once

#include <cstdint>

#include "kernels/dynamic.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {

inline constexpr int tile_inner = 16;  // depth of the tiles in shared memory
inline constexpr int thread_tile = 4;  // rows and columns of the result held by one thread

/// Along what neighbours in memory lie among the elements of an operand: the sum, or the lines, rows or columns of the
/// result. Threads side by side bring neighbours.
enum class Along { sum, lines };

/// The `count` elements that a thread brings of the `Lines` lines of an operand's tile: the j-th is the depth(j)-th of
/// the tile's depth on line(j).
template <Along along, int Threads, int Lines>
struct Share {
  static constexpr bool along_sum = along == Along::sum;
  static constexpr int count = tile_inner * Lines / Threads;
  static constexpr int step = Threads / (along_sum ? tile_inner : Lines);  // between two of them
  static_assert(Threads % (along_sum ? tile_inner : Lines) == 0);

  OMNI_DEVICE static int depth(int j) {
    return along_sum ? simt::thread_rank() % tile_inner : simt::thread_rank() / Lines + j * step;
  }
  OMNI_DEVICE static int line(int j) {
    return along_sum ? simt::thread_rank() / tile_inner + j * step : simt::thread_rank() % Lines;
  }
};

/// A number counted on by steps as digits (row, column, channel), without a division: the taps and channels of a sum,
/// or with one channel the pixels of an image.
struct Walk {
  int row, column, channel;
  int row_step, column_step, channel_step;
  int columns, channels;

  OMNI_DEVICE Walk(int from, int step, int columns_of_row, int channels_of_column)
      : row(from / channels_of_column / columns_of_row),
        column(from / channels_of_column % columns_of_row),
        channel(from % channels_of_column),
        row_step(step / channels_of_column / columns_of_row),
        column_step(step / channels_of_column % columns_of_row),
        channel_step(step % channels_of_column),
        columns(columns_of_row),
        channels(channels_of_column) {}

  OMNI_DEVICE void advance() {
    row += row_step;
    column += column_step;
    channel += channel_step;
    if (channel >= channels) {
      channel -= channels;
      ++column;
    }
    if (column >= columns) {
      column -= columns;
      ++row;
    }
  }
};

template <int Rows, int Columns>
struct Tile {
  static constexpr int rows = Rows;
  static constexpr int columns = Columns;
  static constexpr int threads = (Rows / thread_tile) * (Columns / thread_tile);
  template <Along along>
  using RowShare = Share<along, threads, Rows>;
  template <Along along>
  using ColumnShare = Share<along, threads, Columns>;

  OMNI_DEVICE static int first_row() { return simt::thread_rank() / (Columns / thread_tile) * thread_tile; }
  OMNI_DEVICE static int first_column() { return simt::thread_rank() % (Columns / thread_tile) * thread_tile; }

  /// Tiles of both operands in shared memory. The pitch of their lines has threads that bring neighbours along the sum
  /// write to different banks, two of them to each.
  template <class T>
  struct Operands {
    static constexpr int row_pitch = Rows + thread_tile;
    static constexpr int column_pitch = Columns + thread_tile;

    T* a;  // [tile_inner, row_pitch]
    T* b;  // [tile_inner, column_pitch]

    OMNI_DEVICE explicit Operands(simt::SharedMemory& memory)
        : a(memory.array<T>(tile_inner * row_pitch)), b(memory.array<T>(tile_inner * column_pitch)) {}

    static simt::SharedSize size() {
      return simt::SharedSize{}.array<T>(tile_inner * row_pitch).template array<T>(tile_inner * column_pitch);
    }
  };

  /// sums[r][c] += Σ_k a(k, r) · b(k, c) over the block's tile, for k < inner. The operands give a thread its `Share`
  /// of one tile after the other by load(values), zeros for what there is not; the next one is on its way while the
  /// last one is multiplied.
  template <class T, class A, class B>
  OMNI_DEVICE static void multiply(const Operands<T>& shared, std::int64_t inner, A a, B b,
                                   T (&sums)[thread_tile][thread_tile]) {
    constexpr int row_pitch = Operands<T>::row_pitch, column_pitch = Operands<T>::column_pitch;
    T of_a[A::Share::count], of_b[B::Share::count];
    a.load(of_a);
    b.load(of_b);
    for (std::int64_t k0 = 0; k0 < inner; k0 += tile_inner) {
      // A GPU gains more by a loop of known length than it loses by zeros at the end.
      const int depth = OMNICONV_CUDA || inner - k0 > tile_inner ? tile_inner : static_cast<int>(inner - k0);
      OMNI_UNROLL for (int j = 0; j < A::Share::count; ++j)
          shared.a[A::Share::depth(j) * row_pitch + A::Share::line(j)] = of_a[j];
      OMNI_UNROLL for (int j = 0; j < B::Share::count; ++j)
          shared.b[B::Share::depth(j) * column_pitch + B::Share::line(j)] = of_b[j];
      simt::barrier();
      if (k0 + tile_inner < inner) {
        a.load(of_a);
        b.load(of_b);
      }
      multiply_tiles(shared, depth, sums);
      simt::barrier();
    }
  }

  /// The same of operands a(k, row) and b(k, column) whose elements may lie anywhere and are asked for one by one, once
  /// per element and block.
  template <class T, class ElementA, class ElementB>
  OMNI_DEVICE static void multiply_elements(const Operands<T>& shared, std::int64_t inner, const ElementA& a,
                                            const ElementB& b, T (&sums)[thread_tile][thread_tile]) {
    constexpr int row_pitch = Operands<T>::row_pitch, column_pitch = Operands<T>::column_pitch;
    for (std::int64_t k0 = 0; k0 < inner; k0 += tile_inner) {
      const int depth = static_cast<int>(inner - k0 < tile_inner ? inner - k0 : tile_inner);
      for (int i = simt::thread_rank(); i < tile_inner * Rows; i += threads)
        shared.a[(i % tile_inner) * row_pitch + i / tile_inner] =
            i % tile_inner < depth ? a(k0 + i % tile_inner, i / tile_inner) : T(0);
      for (int i = simt::thread_rank(); i < tile_inner * Columns; i += threads)
        shared.b[(i % tile_inner) * column_pitch + i / tile_inner] =
            i % tile_inner < depth ? b(k0 + i % tile_inner, i / tile_inner) : T(0);
      simt::barrier();
      multiply_tiles(shared, depth, sums);
      simt::barrier();
    }
  }

  /// sums[r][c] += the product of the tiles in shared memory, which are so deep.
  template <class T>
  OMNI_DEVICE static void multiply_tiles(const Operands<T>& shared, int depth, T (&sums)[thread_tile][thread_tile]) {
    const int row = first_row();
    const int column = first_column();
    for (int k = 0; k < depth; ++k) {
      for (int r = 0; r < thread_tile; ++r) {
        const T left = shared.a[k * Operands<T>::row_pitch + row + r];
        for (int c = 0; c < thread_tile; ++c)
          sums[r][c] += left * shared.b[k * Operands<T>::column_pitch + column + c];
      }
    }
  }

  /// Calls store(row, column, sum) for each of the thread's sums that lies in the first `rows` and `columns` of the
  /// tile.
  template <class T, class Store>
  OMNI_DEVICE static void for_each_sum(const T (&sums)[thread_tile][thread_tile], std::int64_t rows,
                                       std::int64_t columns, const Store& store) {
    for (int r = 0; r < thread_tile; ++r) {
      const int row = first_row() + r;
      if (row >= rows) break;
      for (int c = 0; c < thread_tile; ++c) {
        const int column = first_column() + c;
        if (column >= columns) break;
        store(row, column, sums[r][c]);
      }
    }
  }
};

/// A block's share of a grouped product, whose columns are a group's output or input channels.
struct GroupTile {
  std::int64_t first_in, first_out;  // channels of the group
  std::int64_t first, columns;       // of the tile's columns: the first one's number in the group, and how many exist

  /// The tile of the number-th of the blocks that group_tiles counts; `channels` of each group lie along the columns.
  template <class Tiling, class T>
  OMNI_DEVICE static GroupTile of(std::int64_t number, const Dynamic<T>& dynamic, std::int64_t channels) {
    const std::int64_t tiles = (channels + Tiling::columns - 1) / Tiling::columns;
    const std::int64_t group = number / tiles, first = number % tiles * Tiling::columns;
    return {group * dynamic.group_in, group * dynamic.group_out, first, channels - first};
  }
};

/// A block's tile of the gradient of the weights at a tap: rows are output channels, columns input channels of a group.
template <class Tiling>
struct WeightTile {
  GroupTile group;
  std::int64_t first_row, rows;  // the first one's number in the group, and how many exist
  std::int64_t tap;
  std::int64_t number, count;  // among the tiles of a tap and kernel

  /// Of the blocks of weight_grid.
  template <class T>
  OMNI_DEVICE static WeightTile of_this_block(const Dynamic<T>& dynamic) {
    const std::int64_t x = simt::block_index().x, y = simt::block_index().y;
    const std::int64_t row_tiles = (dynamic.group_out + Tiling::rows - 1) / Tiling::rows;
    const std::int64_t first_row = y % row_tiles * Tiling::rows;
    return {.group = GroupTile::of<Tiling>(x, dynamic, dynamic.group_in),
            .first_row = first_row,
            .rows = dynamic.group_out - first_row,
            .tap = y / row_tiles,
            .number = x * row_tiles + y % row_tiles,
            .count = simt::grid_extent().x * row_tiles};
  }

  OMNI_DEVICE std::int64_t out_channel(int row) const { return group.first_out + first_row + row; }
  OMNI_DEVICE std::int64_t in_channel(int column) const { return group.first_in + group.first + column; }
  template <class T>
  OMNI_DEVICE std::int64_t weight_index(const Dynamic<T>& dynamic, std::int64_t k, int row, int column) const {
    return dynamic.weight_index(k, out_channel(row), tap, group.first + column);
  }

  /// d_weight [K, O, taps, I/g] (+)= sums, of kernel k.
  template <class T, class Value>
  OMNI_DEVICE void store(const Dynamic<T>& dynamic, std::int64_t k, const Value (&sums)[thread_tile][thread_tile],
                         Value* d_weight, bool accumulate) const {
    Tiling::for_each_sum(sums, rows, group.columns, [&](int row, int column, Value sum) {
      write(d_weight[weight_index(dynamic, k, row, column)], sum, accumulate);
    });
  }
};

inline unsigned blocks(std::int64_t extent, std::int64_t tile) {
  return static_cast<unsigned>((extent + tile - 1) / tile);
}

/// Blocks that cut `channels` of each group into columns of tiles.
template <class Tiling>
unsigned group_tiles(const ConvShape& shape, std::int64_t channels) {
  return blocks(channels, Tiling::columns) * static_cast<unsigned>(shape.params.groups);
}

/// Grid of the gradient of the weights: tiles over (groups, input channels), over (taps, output channels), over
/// kernels, or (parts, kernels).
template <class Tiling>
simt::Dim3 weight_grid(const ConvShape& shape, std::int64_t kernel_tiles) {
  return {group_tiles<Tiling>(shape, shape.group_in()),
          blocks(shape.group_out(), Tiling::rows) * static_cast<unsigned>(shape.taps()),
          static_cast<unsigned>(kernel_tiles)};
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

inline constexpr std::int64_t few_pixels = 16;

/// The same with a tile whose rows suit a sample's pixels, too.
template <class Body>
void with_pixel_tile(std::int64_t pixels, std::int64_t columns, Body&& body) {
  if (columns > narrow_channels && pixels <= few_pixels)
    body(Tile<16, 64>{});
  else
    with_tile(columns, body);
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
