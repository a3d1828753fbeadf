// Whole files: read with checks, written so that a reader sees the old content or the new, never half of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace omniconv {

/// A regular file opened for reading. Every error reads `[where] PATH: expected ..., got ...`.
class InputFile {
 public:
  /// @throws Error if the file is missing, unreadable or not a regular file.
  InputFile(std::string_view where, std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// Size in bytes when it was opened.
  std::uint64_t size() const { return size_; }
  /// Fills `target` with the bytes from `offset` on. @throws Error if the file ends before.
  void read(std::uint64_t offset, std::span<std::byte> target) const;

 private:
  std::string where_;
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

/// The whole file. @throws Error as InputFile does.
std::string read_text(std::string_view where, const std::string& path);

/// Replaces the file at `path` by `parts`, one behind the other: written to a temporary name in the same folder,
/// flushed to disk, renamed, the folder flushed. On failure the temporary file is removed, the old file is as it was;
/// only where the folder cannot be flushed the new one is in its place, and may not outlast a power failure.
/// @throws Error `[where] PATH: expected to write N bytes, got ...` with the system's reason.
void write_file(std::string_view where, const std::string& path, std::span<const std::span<const std::byte>> parts);
/// The same for one piece of text or bytes.
void write_file(std::string_view where, const std::string& path, std::string_view content);

/// Whether `text` is UTF-8, as JSON and safetensors want it: names and paths on a disk are any bytes.
bool is_utf8(std::string_view text);

/// `text` in double quotes on one line: control characters escaped, cut after 80 bytes. For names from foreign files.
std::string in_quotes(std::string_view text);

/// `parts` with `separator` between them.
std::string joined(const std::vector<std::string>& parts, std::string_view separator);

/// "a, b, c and 5 more": names for a message, at most three of them.
std::string first_few(const std::vector<std::string>& names);

}  // namespace omniconv
