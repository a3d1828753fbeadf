// The JSON header of a safetensors file, checked: what engine/safetensors.cpp relies on.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/dtype.h"
#include "engine/tensor.h"

namespace omniconv {

inline constexpr std::uint64_t longest_safetensors_header = 100'000'000;  ///< bytes; the official reader's limit
inline constexpr std::string_view safetensors_metadata_key = "__metadata__";

/// One tensor; its data are the bytes [begin, end) behind the header.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::uint64_t begin = 0, end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  ///< in the order of their data
  std::map<std::string, std::string> metadata;
};

/// The format's name of a type: "F32", "I64", ...
std::string_view safetensors_name_of(DType dtype);

/// Parses `text`, the header of a file called `file` with `data_size` bytes behind it. On return the entries have
/// different names, fit their shapes and types, and cover the data without holes or overlaps.
/// @throws Error `[safetensors] FILE: expected ..., got ...` otherwise.
SafetensorsHeader parse_safetensors_header(const std::string& file, std::string_view text, std::uint64_t data_size);

}  // namespace omniconv
