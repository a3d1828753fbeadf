#include "apps/tensorboard/record_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/crc.hpp>
#include <cerrno>
#include <system_error>

#include "kernels/error.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "tensorboard";
using Crc32c = boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true>;

std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xFF);
  return text;
}

}  // namespace

std::uint32_t masked_crc(std::string_view bytes) {
  Crc32c sum;
  sum.process_bytes(bytes.data(), bytes.size());
  const std::uint32_t crc = sum.checksum();
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

std::string framed(std::string_view record) {
  const std::string length = little_endian(record.size(), 8);
  return concat(length, little_endian(masked_crc(length), 4), record, little_endian(masked_crc(record), 4));
}

RecordFile::RecordFile(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0)
    fail(where, path_, ": expected to make a new file, got: ", std::generic_category().message(errno));
}

RecordFile::~RecordFile() {
  ::close(descriptor_);
}

void RecordFile::append(std::string_view record) {
  const std::string bytes = framed(record);
  const off_t before = ::lseek(descriptor_, 0, SEEK_END);
  std::size_t done = 0;
  int error = before < 0 ? errno : 0;
  while (error == 0 && done < bytes.size()) {
    const ssize_t written = ::write(descriptor_, bytes.data() + done, bytes.size() - done);
    if (written > 0) done += static_cast<std::size_t>(written);
    if (written == 0) error = ENOSPC;
    if (written < 0 && errno != EINTR) error = errno;
  }
  if (error == 0) return;
  const bool clean = done == 0 || ::ftruncate(descriptor_, before) == 0;
  fail(where, path_, ": expected to append ", bytes.size(), " bytes, got: ", std::generic_category().message(error),
       clean ? "" : "; the file ends in a part of them");
}

void RecordFile::flush() {
  if (::fsync(descriptor_) != 0)
    fail(where, path_, ": expected to flush the file to disk, got: ", std::generic_category().message(errno));
}

}  // namespace omniconv
