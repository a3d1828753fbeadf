// Numbers as text that reads back as the same number.
#pragma once

#include <charconv>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace omniconv {

/// `value` with the fewest digits that read back as the same number.
inline std::string number_text(double value) {
  char text[32];  // enough for every f64
  const auto [end, error] = std::to_chars(std::begin(text), std::end(text), value);
  return {text, end};
}

/// The number of type T that the whole of `text` is, or nothing.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stopped != end) return std::nullopt;
  return value;
}

}  // namespace omniconv
