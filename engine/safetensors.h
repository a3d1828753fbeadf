// The safetensors file format on the host: named tensors and string metadata, read with suspicion, written the same
// way every time.
//
// A file is eight bytes of little-endian header length, a JSON header (name -> dtype, shape, data_offsets), and the
// tensors' bytes without holes. Types: F64, F32, F16, BF16, I64, I32, U8; every other one is refused by its name.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/host_tensor.h"

namespace omniconv {

struct SafetensorsFile {
  std::map<std::string, HostTensor> tensors;
  std::map<std::string, std::string> metadata;

  friend bool operator==(const SafetensorsFile&, const SafetensorsFile&) = default;
};

/// Reads a whole file. Nothing is allocated on the word of the header before it was checked against the file's size.
/// @throws Error `[safetensors] PATH: expected ..., got ...`, one line, for anything that is not such a file.
SafetensorsFile read_safetensors(const std::string& path);

/// The same from memory; `name` stands for the path in messages.
SafetensorsFile parse_safetensors(std::span<const std::byte> content, const std::string& name);

/// The bytes of a file: names sorted in the header, wide types first in the data so that each tensor is aligned to
/// its element, the header padded with spaces to a multiple of eight. Equal content gives equal bytes.
/// @throws Error if a tensor's bytes do not fit its shape and type, or a name or value is not UTF-8.
std::vector<std::byte> format_safetensors(const SafetensorsFile& file);

/// Writes format_safetensors(file) in place of the file at `path`, all or nothing (write_file of engine/files.h).
/// @throws Error as format_safetensors and write_file do; no temporary file is left.
void write_safetensors(const std::string& path, const SafetensorsFile& file);

}  // namespace omniconv
