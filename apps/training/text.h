// printf into a string.
#pragma once

#include <cstdio>
#include <string>

namespace omniconv {

/// The text that printf would print.
template <class... Values>
std::string text(const char* format, Values... values) {
  std::string result(static_cast<std::size_t>(std::snprintf(nullptr, 0, format, values...)), '\0');
  std::snprintf(result.data(), result.size() + 1, format, values...);
  return result;
}

}  // namespace omniconv
