#include "engine/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "kernels/error.h"

namespace omniconv {
namespace {

std::string reason(int error) {
  return std::generic_category().message(error);
}

/// A file that disappears unless it was renamed to its final name.
class TemporaryFile {
 public:
  /// The process id keeps two writers apart; a name left behind by a killed process of the same id is passed over.
  explicit TemporaryFile(const std::string& final_path) {
    constexpr int attempts = 1000;
    for (int i = 0; i < attempts; ++i) {
      path_ = concat(final_path, ".tmp-", ::getpid(), '-', i);
      descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor_ >= 0) return;
      error_ = errno;
      if (error_ != EEXIST) return;
    }
  }
  ~TemporaryFile() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    if (!renamed_) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  /// These return false and keep the reason in `error()`.
  bool opened() const { return descriptor_ >= 0; }
  bool write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), std::min<std::size_t>(bytes.size(), 1 << 30));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return failed();
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return true;
  }
  bool flush() { return ::fsync(descriptor_) == 0 || failed(); }
  bool rename_to(const std::string& final_path) {
    renamed_ = std::rename(path_.c_str(), final_path.c_str()) == 0;
    return renamed_ || failed();
  }
  int error() const { return error_; }

 private:
  bool failed() {
    error_ = errno;
    return false;
  }

  std::string path_;
  int descriptor_ = -1;
  int error_ = 0;
  bool renamed_ = false;
};

/// Makes a rename in `folder` last through a power failure; 0 or the error.
int flush_folder(const std::string& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return errno == EACCES ? 0 : errno;  // writable, but not listable: nothing to flush through
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  return error == EINVAL || error == ENOTSUP ? 0 : error;  // some network file systems cannot flush folders
}

}  // namespace

InputFile::InputFile(std::string_view where, std::string path) : where_(where), path_(std::move(path)) {
  // Without O_NONBLOCK a named pipe would block here, before it can be refused.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) fail(where_, path_, ": expected a readable file, got: ", reason(errno));
  struct stat status {};
  const int error = ::fstat(descriptor_, &status) == 0 ? 0 : errno;
  if (error == 0 && S_ISREG(status.st_mode)) {
    size_ = static_cast<std::uint64_t>(status.st_size);
    return;
  }
  ::close(descriptor_);
  if (error != 0) fail(where_, path_, ": expected a readable file, got: ", reason(error));
  fail(where_, path_, ": expected a regular file, got ", S_ISDIR(status.st_mode) ? "a folder" : "a device or pipe");
}

InputFile::~InputFile() {
  ::close(descriptor_);
}

void InputFile::read(std::uint64_t offset, std::span<std::byte> target) const {
  std::uint64_t position = offset;
  while (!target.empty()) {
    const ssize_t count = ::pread(descriptor_, target.data(), std::min<std::size_t>(target.size(), 1 << 30),
                                  static_cast<off_t>(position));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(where_, path_, ": expected to read from byte ", position, ", got: ", reason(errno));
    expect(count > 0, where_, path_, ": expected ", target.size(), " more bytes, got the file's end at byte ",
           position);
    target = target.subspan(static_cast<std::size_t>(count));
    position += static_cast<std::uint64_t>(count);
  }
}

std::string read_text(std::string_view where, const std::string& path) {
  const InputFile file(where, path);
  std::string text(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

void write_file(std::string_view where, const std::string& path, std::span<const std::span<const std::byte>> parts) {
  std::uint64_t total = 0;
  for (const auto& part : parts) total += part.size();
  const auto refuse = [&](int error) {
    fail(where, path, ": expected to write ", total, " bytes, got: ", reason(error));
  };
  {
    TemporaryFile file(path);
    bool done = file.opened();
    for (const auto& part : parts) done = done && file.write(part);
    done = done && file.flush() && file.rename_to(path);
    if (!done) refuse(file.error());
  }
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const int error = flush_folder(folder.empty() ? "." : folder);
  if (error != 0) refuse(error);
}

void write_file(std::string_view where, const std::string& path, std::string_view content) {
  const std::span<const std::byte> part = std::as_bytes(std::span(content));
  write_file(where, path, std::span(&part, 1));
}

bool is_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  std::size_t length = 0;
  for (std::size_t i = 0; i < text.size(); i += length) {
    const unsigned first = byte(i);
    length = first < 0x80 ? 1 : first >> 5 == 0b110 ? 2 : first >> 4 == 0b1110 ? 3 : first >> 3 == 0b11110 ? 4 : 0;
    if (length == 0) return false;
    unsigned code = length == 1 ? first : first & (0x7Fu >> length);
    for (std::size_t j = 1; j < length; ++j) {
      if (byte(i + j) >> 6 != 0b10) return false;
      code = code << 6 | (byte(i + j) & 0x3F);
    }
    constexpr unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};  // what fewer bytes hold is not written in more
    const bool surrogate = code >> 11 == 0xD800 >> 11;
    if (code < least[length] || code > 0x10FFFF || surrogate) return false;
  }
  return true;
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 80;
  std::size_t length = std::min(text.size(), longest);
  // Never half a UTF-8 character: its later bytes are 10xxxxxx.
  while (length < text.size() && length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
  std::string result = "\"";
  for (const char c : text.substr(0, length)) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x20 || code == 0x7F) {
      constexpr std::string_view digits = "0123456789abcdef";
      result += {'\\', 'x', digits[code / 16], digits[code % 16]};
    } else if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else {
      result += c;
    }
  }
  return result + (length < text.size() ? "...\"" : "\"");
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) text += concat(i == 0 ? "" : separator, parts[i]);
  return text;
}

std::string first_few(const std::vector<std::string>& names) {
  constexpr std::size_t shown = 3;
  if (names.size() <= shown) return joined(names, ", ");
  return concat(joined({names.begin(), names.begin() + shown}, ", "), " and ", names.size() - shown, " more");
}

}  // namespace omniconv
