#include "engine/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "engine/files.h"
#include "engine/safetensors_header.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "safetensors";
constexpr std::size_t length_bytes = 8;

/// `read(offset, target)` fills `target` with the bytes of the file of `file_size` bytes from `offset` on.
template <class Read>
SafetensorsFile read_file(const std::string& name, std::uint64_t file_size, Read read) {
  expect(file_size >= length_bytes, where, name, ": expected at least ", length_bytes, " bytes, got ", file_size,
         ": truncated, or not a safetensors file");
  std::array<std::byte, length_bytes> start;
  read(0, std::span(start));
  expect(std::memcmp(start.data(), "PK\3\4", 4) != 0, where, name,
         ": expected a safetensors file, got a zip archive such as torch.save writes: save it with "
         "safetensors.torch.save_file");
  std::uint64_t header_length = 0;
  std::memcpy(&header_length, start.data(), length_bytes);
  expect(header_length <= longest_safetensors_header, where, name, ": expected a header of at most ",
         longest_safetensors_header, " bytes, got a length of ", header_length, ": not a safetensors file?");
  const std::uint64_t after_length = file_size - length_bytes;
  expect(header_length <= after_length, where, name, ": expected a header of ", header_length, " bytes, got ",
         after_length, " bytes: truncated, or not a safetensors file");
  std::string text(header_length, '\0');
  read(length_bytes, std::as_writable_bytes(std::span(text)));

  SafetensorsHeader header = parse_safetensors_header(name, text, after_length - header_length);
  SafetensorsFile file;
  file.metadata = std::move(header.metadata);
  for (SafetensorsEntry& entry : header.entries) {
    HostTensor tensor{entry.dtype, std::move(entry.shape), {}};
    const std::uint64_t size = entry.end - entry.begin;
    try {
      tensor.bytes.resize(size);
    } catch (const std::bad_alloc&) {
      fail(where, name, ": expected memory for tensor ", in_quotes(entry.name), " of ", size, " bytes, got none");
    }
    read(length_bytes + header_length + entry.begin, std::span(tensor.bytes));
    file.tensors.emplace(std::move(entry.name), std::move(tensor));
  }
  return file;
}

/// `text` as a JSON string.
std::string json_string(const std::string& text) {
  expect(is_utf8(text), where, "expected names and metadata of UTF-8, got ", in_quotes(text));
  return nlohmann::json(text).dump();
}

/// Header length, header and padding of `file`, and its tensors in the order of their data.
struct Layout {
  std::string start;
  std::vector<const HostTensor*> order;
};

Layout lay_out(const SafetensorsFile& file) {
  struct Placed {
    const std::string* name;
    const HostTensor* tensor;
    std::uint64_t begin;
  };
  std::vector<Placed> placed;
  for (const auto& [name, tensor] : file.tensors) {
    expect(name != safetensors_metadata_key, where, "expected a tensor's name, got ", in_quotes(name),
           ", which the format reserves");
    const auto bytes = static_cast<std::uint64_t>(element_count(tensor.shape)) * size_of(tensor.dtype);
    expect(bytes == tensor.bytes.size(), where, "expected ", bytes, " bytes for tensor ", in_quotes(name), " of ",
           name_of(tensor.dtype), ' ', tensor.shape, ", got ", tensor.bytes.size());
    placed.push_back({&name, &tensor, 0});
  }
  std::vector<Placed*> by_data;
  for (Placed& each : placed) by_data.push_back(&each);
  std::stable_sort(by_data.begin(), by_data.end(), [](const Placed* a, const Placed* b) {
    return size_of(a->tensor->dtype) > size_of(b->tensor->dtype);
  });
  Layout layout;
  std::uint64_t end = 0;
  for (Placed* each : by_data) {
    each->begin = end;
    end += each->tensor->bytes.size();
    layout.order.push_back(each->tensor);
  }

  std::string header = "{";
  if (!file.metadata.empty()) {
    header += concat('"', safetensors_metadata_key, "\":{");
    for (const auto& [key, value] : file.metadata) header += json_string(key) + ':' + json_string(value) + ',';
    header.back() = '}';
    header += ',';
  }
  for (const Placed& each : placed) {
    std::string shape;
    for (const std::int64_t extent : each.tensor->shape) shape += concat(shape.empty() ? "" : ",", extent);
    header +=
        concat(json_string(*each.name), ":{\"dtype\":\"", safetensors_name_of(each.tensor->dtype), "\",\"shape\":[",
               shape, "],\"data_offsets\":[", each.begin, ',', each.begin + each.tensor->bytes.size(), "]},");
  }
  if (header.back() == ',') header.pop_back();
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  expect(header.size() <= longest_safetensors_header, where, "expected a header of at most ",
         longest_safetensors_header, " bytes, got ", header.size());

  const std::uint64_t length = header.size();
  layout.start.resize(length_bytes);
  std::memcpy(layout.start.data(), &length, length_bytes);
  layout.start += header;
  return layout;
}

std::vector<std::span<const std::byte>> parts_of(const Layout& layout) {
  std::vector<std::span<const std::byte>> parts{std::as_bytes(std::span(layout.start))};
  for (const HostTensor* tensor : layout.order) parts.emplace_back(tensor->bytes);
  return parts;
}

}  // namespace

SafetensorsFile read_safetensors(const std::string& path) {
  const InputFile file(where, path);
  return read_file(path, file.size(),
                   [&](std::uint64_t offset, std::span<std::byte> target) { file.read(offset, target); });
}

SafetensorsFile parse_safetensors(std::span<const std::byte> content, const std::string& name) {
  return read_file(name, content.size(), [&](std::uint64_t offset, std::span<std::byte> target) {
    std::ranges::copy(content.subspan(offset, target.size()), target.begin());
  });
}

std::vector<std::byte> format_safetensors(const SafetensorsFile& file) {
  const Layout layout = lay_out(file);
  std::vector<std::byte> content;
  for (const auto part : parts_of(layout)) content.insert(content.end(), part.begin(), part.end());
  return content;
}

void write_safetensors(const std::string& path, const SafetensorsFile& file) {
  const Layout layout = lay_out(file);
  write_file(where, path, parts_of(layout));
}

}  // namespace omniconv
