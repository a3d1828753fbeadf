// Text for terminals.
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

/// `words` without line breaks and other control characters: names from files must not steer a terminal.
inline std::string one_line(std::string words) {
  for (char& c : words)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  return words;
}

}  // namespace omniconv
