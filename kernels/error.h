// The one exception type of omniconv and the one way to raise it.
#pragma once

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace omniconv {

/// Every error of the libraries. Its text reads `[where] what was expected, what was found`;
/// the program's main catches it once, prints it as one line and exits with 1.
class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A contradiction between options or an impossible option value: main exits with 2.
class UsageError : public Error {
  using Error::Error;
};

/// Text of its arguments, one behind the other, as `operator<<` prints them; a vector of integers
/// prints as a shape: `[8, 32, 32, 3]`.
template <class... Parts>
std::string concat(const Parts&... parts);

/// Throws Error with the text `[where] parts...`.
template <class... Parts>
[[noreturn]] void fail(std::string_view where, const Parts&... parts) {
  throw Error(concat('[', where, "] ", parts...));
}

/// Throws Error with the text `[where] parts...` unless `condition` holds. The parts are formatted only then.
template <class... Parts>
void expect(bool condition, std::string_view where, const Parts&... parts) {
  if (!condition) fail(where, parts...);
}

namespace detail {

template <class T>
void print(std::ostringstream& out, const T& part) {
  out << part;
}

inline void print(std::ostringstream& out, const std::vector<std::int64_t>& shape) {
  out << '[';
  for (std::size_t i = 0; i < shape.size(); ++i) out << (i == 0 ? "" : ", ") << shape[i];
  out << ']';
}

}  // namespace detail

template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (detail::print(out, parts), ...);
  return std::move(out).str();
}

}  // namespace omniconv
