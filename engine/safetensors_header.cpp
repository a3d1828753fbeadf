#include "engine/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "engine/files.h"

namespace omniconv {
namespace {

constexpr std::size_t highest_rank = 64;  // PyTorch's limit; keeps messages that print a shape short

constexpr std::pair<std::string_view, DType> dtype_names[] = {
    {"F64", DType::f64}, {"F32", DType::f32}, {"F16", DType::f16}, {"BF16", DType::bf16},
    {"I64", DType::i64}, {"I32", DType::i32}, {"U8", DType::u8},
};

std::optional<DType> dtype_of(std::string_view name) {
  for (const auto& [known, dtype] : dtype_names) {
    if (known == name) return dtype;
  }
  return std::nullopt;
}

/// A tensor's object as the header has it: shape and offsets may be anything that JSON calls a whole number >= 0.
struct RawEntry {
  std::optional<DType> dtype;
  std::optional<std::vector<std::uint64_t>> shape;
  std::optional<std::vector<std::uint64_t>> offsets;
};

/// Takes the header event by event and accepts exactly its grammar: nesting goes no deeper than the grammar does,
/// and a name that comes twice is seen, where a parser into a tree would keep the last one.
class HeaderReader : public nlohmann::json::json_sax_t {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}

  std::map<std::string, RawEntry> tensors;
  std::map<std::string, std::string> metadata;

  bool null() override { return unexpected("null"); }
  bool boolean(bool value) override { return unexpected(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return unexpected(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { return unexpected(text.substr(0, 40)); }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::shape) {
      if (entry_->shape->size() == highest_rank) refuse(concat("at most ", highest_rank, " extents"), "more");
      entry_->shape->push_back(value);
    } else if (state_ == State::offsets) {
      if (entry_->offsets->size() == 2) refuse("two data_offsets", "more");
      entry_->offsets->push_back(value);
    } else {
      unexpected(std::to_string(value));
    }
    return true;
  }

  bool string(string_t& value) override {
    if (state_ == State::dtype) {
      entry_->dtype = dtype_of(value);
      if (!entry_->dtype) refuse("F64, F32, F16, BF16, I64, I32 or U8 as dtype", in_quotes(value));
      state_ = State::tensor;
    } else if (state_ == State::metadata_value) {
      *metadata_value_ = std::move(value);
      state_ = State::metadata;
    } else {
      unexpected("the text " + in_quotes(value));
    }
    return true;
  }

  bool start_object(std::size_t) override {
    switch (state_) {
      case State::start:
        state_ = State::file;
        return true;
      case State::entry:
        state_ = State::tensor;
        return true;
      case State::metadata_object:
        state_ = State::metadata;
        return true;
      default:
        return unexpected("an object");
    }
  }

  bool key(string_t& name) override {
    switch (state_) {
      case State::file:
        file_key(name);
        break;
      case State::tensor:
        tensor_key(name);
        break;
      default:  // State::metadata: keys come in objects only
        subject_ = "metadata " + in_quotes(name);
        const auto [place, fresh] = metadata.try_emplace(name);
        if (!fresh) refuse("each name once", "it twice");
        metadata_value_ = &place->second;
        state_ = State::metadata_value;
    }
    return true;
  }

  bool end_object() override {
    if (state_ == State::tensor) {
      if (!entry_->dtype || !entry_->shape || !entry_->offsets) refuse("dtype, shape and data_offsets", "fewer");
    }
    state_ = state_ == State::file ? State::end : State::file;
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ == State::shape_list) {
      entry_->shape.emplace();
      state_ = State::shape;
    } else if (state_ == State::offsets_list) {
      entry_->offsets.emplace();
      state_ = State::offsets;
    } else {
      unexpected("a list");
    }
    return true;
  }

  bool end_array() override {
    if (state_ == State::offsets && entry_->offsets->size() != 2) refuse("two data_offsets", "fewer");
    state_ = State::tensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    // The parser's own text quotes what it read, line breaks and all.
    const bool encoding = std::string_view(error.what()).find("UTF-8") != std::string_view::npos;
    fail("safetensors", file_, ": expected a JSON header of UTF-8, got ", encoding ? "another encoding" : "other text",
         " at header byte ", position);
  }

 private:
  /// What has been read: inside an object or list, or between a key and its value.
  enum class State {
    start,
    file,
    entry,
    tensor,
    dtype,
    shape_list,
    shape,
    offsets_list,
    offsets,
    metadata_object,
    metadata,
    metadata_value,
    end
  };

  void file_key(const std::string& name) {
    if (name == safetensors_metadata_key) {
      subject_ = name;
      if (std::exchange(has_metadata_, true)) refuse("each name once", "it twice");
      state_ = State::metadata_object;
      return;
    }
    subject_ = "tensor " + in_quotes(name);
    const auto [place, fresh] = tensors.try_emplace(name);
    if (!fresh) refuse("each name once", "it twice");
    entry_ = &place->second;
    state_ = State::entry;
  }

  void tensor_key(const std::string& name) {
    bool fresh = false;
    if (name == "dtype") {
      fresh = !entry_->dtype;
      state_ = State::dtype;
    } else if (name == "shape") {
      fresh = !entry_->shape;
      state_ = State::shape_list;
    } else if (name == "data_offsets") {
      fresh = !entry_->offsets;
      state_ = State::offsets_list;
    } else {
      refuse("dtype, shape and data_offsets", in_quotes(name));
    }
    if (!fresh) refuse("each name once", name + " twice");
  }

  std::string_view expected() const {
    switch (state_) {
      case State::dtype:
        return "a text as dtype";
      case State::shape_list:
        return "a list as shape";
      case State::offsets_list:
        return "a list as data_offsets";
      case State::shape:
        return "whole numbers of at least 0 in shape";
      case State::offsets:
        return "whole numbers of at least 0 in data_offsets";
      case State::metadata_value:
        return "a text as value";
      default:
        return "an object";
    }
  }

  [[noreturn]] void refuse(std::string_view expected, std::string_view got) const {
    fail("safetensors", file_, ": expected ", expected, " for ", subject_, ", got ", got);
  }

  bool unexpected(const std::string& got) const { refuse(expected(), got); }

  const std::string& file_;
  State state_ = State::start;
  std::string subject_ = "the header";
  RawEntry* entry_ = nullptr;
  std::string* metadata_value_ = nullptr;
  bool has_metadata_ = false;
};

/// The bytes of a tensor, or nothing if its shape is beyond what element_count() accepts.
std::optional<std::uint64_t> byte_count(const RawEntry& raw) {
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max() / 8;
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : *raw.shape) {
    if (extent != 0 && (extent > most || elements > most / extent)) return std::nullopt;
    elements *= extent;
  }
  return elements * size_of(*raw.dtype);
}

SafetensorsEntry checked_entry(const std::string& file, const std::string& name, const RawEntry& raw,
                               std::uint64_t data_size) {
  const auto begin = raw.offsets->front();
  const auto end = raw.offsets->back();
  const std::string offsets = concat('[', begin, ", ", end, ']');
  Shape shape;
  std::string shape_text;
  for (const std::uint64_t extent : *raw.shape) {
    shape.push_back(static_cast<std::int64_t>(extent));
    shape_text += concat(shape_text.empty() ? "" : ", ", extent);
  }
  const std::string tensor =
      concat("tensor ", in_quotes(name), " of ", safetensors_name_of(*raw.dtype), " [", shape_text, ']');
  const std::optional<std::uint64_t> bytes = byte_count(raw);
  expect(bytes.has_value(), "safetensors", file, ": expected shapes of less than 2^60 elements, got ", tensor);
  expect(begin <= end && end - begin == *bytes, "safetensors", file, ": expected ", *bytes, " bytes for ", tensor,
         ", got data_offsets ", offsets);
  expect(end <= data_size, "safetensors", file, ": expected at least ", end, " bytes of data for ", tensor, ", got ",
         data_size, ": the file is truncated");
  return {name, *raw.dtype, std::move(shape), begin, end};
}

}  // namespace

std::string_view safetensors_name_of(DType dtype) {
  for (const auto& [name, type] : dtype_names) {
    if (type == dtype) return name;
  }
  fail("safetensors", "expected a type that the format knows, got ", name_of(dtype));
}

SafetensorsHeader parse_safetensors_header(const std::string& file, std::string_view text, std::uint64_t data_size) {
  expect(text.starts_with('{'), "safetensors", file, ": expected a header that starts with '{', got ",
         in_quotes(text.substr(0, 8)), ": not a safetensors file?");
  // The parser would take a zero byte for the end of its input.
  expect(text.find('\0') == std::string_view::npos, "safetensors", file,
         ": expected a JSON header, got a zero byte at header byte ", text.find('\0'));
  HeaderReader reader(file);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);

  SafetensorsHeader header;
  header.metadata = std::move(reader.metadata);
  for (const auto& [name, raw] : reader.tensors) {
    header.entries.push_back(checked_entry(file, name, raw, data_size));
  }
  std::ranges::stable_sort(header.entries, {}, [](const auto& entry) { return std::pair(entry.begin, entry.end); });
  std::uint64_t end = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    expect(entry.begin == end, "safetensors", file, ": expected tensor ", in_quotes(entry.name),
           " to start at data byte ", end, ", got ", entry.begin,
           entry.begin < end ? ": it overlaps another" : ": bytes of no tensor before it");
    end = entry.end;
  }
  expect(end == data_size, "safetensors", file, ": expected ", end, " bytes of data, got ", data_size,
         ": bytes of no tensor at the end");
  return header;
}

}  // namespace omniconv
