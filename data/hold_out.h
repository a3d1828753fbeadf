// Images of the training set that are kept out of training, to choose by.
#pragma once

#include <cstdint>

#include "data/images.h"

namespace omniconv {

/// Takes the last `count` images of `set` away and returns them, in their order; with `stratified` the last ones of
/// each class, as many of every class as of the others (or one more, for the first classes, where `count` does not
/// divide).
/// @throws Error unless at least one image stays and, stratified, every class has its share.
ImageSet hold_out(ImageSet& set, std::int64_t count, bool stratified, std::int64_t classes);

}  // namespace omniconv
