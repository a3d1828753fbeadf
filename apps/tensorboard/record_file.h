// TensorFlow's record files: each record stands between its length and its checksum, so that a reader can tell a whole
// record from the rest of a torn one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace omniconv {

/// CRC-32C (Castagnoli) of `bytes`, rotated right by 15 bits and with a constant added, as the format stores it: the
/// checksum of data that hold their own checksum says little.
std::uint32_t masked_crc(std::string_view bytes);

/// u64 length, u32 masked_crc of these 8 bytes, the record, u32 masked_crc of the record; little-endian.
std::string framed(std::string_view record);

/// A file that did not exist before and to which whole records are appended.
class RecordFile {
 public:
  /// @throws Error `[tensorboard] PATH: expected ...` if there is a file of that name or none can be made.
  explicit RecordFile(std::string path);
  ~RecordFile();
  RecordFile(const RecordFile&) = delete;
  RecordFile& operator=(const RecordFile&) = delete;

  const std::string& path() const { return path_; }
  /// Hands the record to the system at once: it outlives this process, however that ends. What could be written in part
  /// only is taken back; a process that is killed meanwhile leaves the part, which readers see by its length.
  /// @throws Error with the system's reason.
  void append(std::string_view record);
  /// Waits until everything appended is on the disk. @throws Error with the system's reason.
  void flush();

 private:
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace omniconv
