// Places in the source of a kernel, by which the CPU tells calls apart.
#pragma once

#include <cstring>
#include <source_location>
#include <string>

namespace omniconv::simt::detail {

using Place = std::source_location;

/// Whether both come from the same evaluation in the same object file: quick, and true for nearly all that are the
/// same place.
inline bool identical(const Place& a, const Place& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

/// Whether both are the same line and column of the same file.
bool same_place(const Place& a, const Place& b);

/// `file:line`, without folders.
std::string text(const Place& place);

}  // namespace omniconv::simt::detail
