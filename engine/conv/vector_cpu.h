// Sixteen floats at a time: what the CPU's own kernels are written in. The compiler makes one instruction of it with
// AVX-512 and several elsewhere.
#pragma once

#include <cstdint>

namespace omniconv::conv {

inline constexpr int lanes = 16;

/// Passed by reference only, as its registers depend on the machine. `value - Vector{}` has a float in all lanes.
typedef float Vector __attribute__((vector_size(lanes * sizeof(float)), aligned(sizeof(float))));

/// The sixteen floats from `address` on, which need not be aligned.
inline Vector& vector_at(float* address) {
  return *reinterpret_cast<Vector*>(address);
}
inline const Vector& vector_at(const float* address) {
  return *reinterpret_cast<const Vector*>(address);
}

/// Keeps a value in its register: GCC 12 would rather read it from memory again for each of its uses. For a variable of
/// its own: an element of an array would be stored.
inline void pin([[maybe_unused]] Vector& value) {
#ifdef __AVX512F__
  asm("" : "+v"(value));
#endif
}

/// sums[e] = Σ of the sixteen floats of vectors [count, 16].
inline void sum_lanes(const float* vectors, std::int64_t count, float* sums) {
  for (std::int64_t e = 0; e < count; ++e, vectors += lanes) {
    sums[e] = 0;
    for (int lane = 0; lane < lanes; ++lane) sums[e] += vectors[lane];
  }
}

/// sums[r] += factors[r · stride] · row [Vectors · 16]: a step of a matrix product whose result stays in registers.
template <int Rows, int Vectors>
inline void add_products(const float* factors, std::int64_t stride, const float* row, Vector (&sums)[Rows][Vectors]) {
  Vector parts[Vectors];
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) {
    Vector part = vector_at(row + v * lanes);
    pin(part);
    parts[v] = part;
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    const Vector factor = factors[r * stride] - Vector{};
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sums[r][v] += factor * parts[v];
  }
}

}  // namespace omniconv::conv
