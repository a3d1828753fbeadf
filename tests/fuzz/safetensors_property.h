// What has to hold for any bytes that are given to the safetensors reader: the property that the fuzzer searches a
// counter-example of, and that the corpus is held against in the engine's tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "engine/safetensors.h"

namespace omniconv::test {

/// Reads `content`. It is either refused by an Error of one line that says what was expected, or what it holds can be
/// converted, written, and read back unchanged. @throws std::logic_error if neither is the case.
inline void check_safetensors(std::span<const std::byte> content) {
  const auto require = [](bool condition, const std::string& what) {
    if (!condition) throw std::logic_error(what);
  };
  SafetensorsFile file;
  try {
    file = parse_safetensors(content, "FILE");
  } catch (const Error& error) {
    const std::string message = error.what();
    require(message.starts_with("[safetensors] FILE: expected "), "an error of another form: " + message);
    require(message.find('\n') == std::string::npos, "an error of several lines: " + message);
    require(message.size() < 2000, "an error of great length: " + message);
    return;
  }
  for (const auto& [name, tensor] : file.tensors) {
    const bool integers = tensor.dtype == DType::i64 || tensor.dtype == DType::i32 || tensor.dtype == DType::u8;
    const std::size_t count = integers ? to_integers(tensor, name).size() : to_doubles(tensor, name).size();
    require(static_cast<std::int64_t>(count) == element_count(tensor.shape), "another number of values: " + name);
  }
  require(parse_safetensors(format_safetensors(file), "copy") == file, "a file that does not read back as written");
}

}  // namespace omniconv::test
