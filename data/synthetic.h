// A data set drawn from a seed, for machines without a real one.
#pragma once

#include <cstdint>

#include "data/images.h"

namespace omniconv {

/// Ten classes of figures and patterns: disc, ring, square, triangle, cross, horizontal, vertical and diagonal stripes,
/// checkerboard, dots. Place, size, phase, colours and shading are random, and either colour may be the lighter one, so
/// the mean image of every class is the same: a linear classifier on pixels learns next to nothing, a small convolution
/// network nearly all. Mirroring and small shifts keep the class. Labels go round in order, so every set is balanced.
/// The bytes depend on the arguments alone, on every platform, and an image on nothing but seed, set and index.
/// @throws Error unless both counts are at least 1.
ImageData make_synthetic(std::uint64_t seed, std::int64_t train_count = 4000, std::int64_t test_count = 1000);

}  // namespace omniconv
