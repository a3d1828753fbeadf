// The safetensors format: what is written reads back, and nothing else gets in.
#include "engine/safetensors.h"

#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>

#include "tests/catch.h"
#include "tests/fuzz/safetensors_property.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {
namespace {

SafetensorsFile example() {
  SafetensorsFile file;
  file.tensors["b.weight"] = make_host_tensor<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  file.tensors["a.count"] = make_host_tensor<std::int64_t>({7}, {});
  file.tensors["d.bytes"] = make_host_tensor<std::uint8_t>({1, 2, 3}, {3});
  file.tensors["c.empty"] = make_host_tensor<double>({}, {0, 5});
  file.tensors["half"] = round_to_host_tensor(std::vector<double>{0.5, -2}, {2}, DType::bf16);
  file.metadata = {{"model", "od_resnet18"}, {"note", "a \"quoted\" line\nand ümlauts"}};
  return file;
}

/// A file of the given header and `data_size` zero bytes; the length can be a lie.
std::string bytes_of(std::string_view header, std::size_t data_size, std::uint64_t length) {
  std::string content(8, '\0');
  std::memcpy(content.data(), &length, 8);
  return content.append(header).append(data_size, '\0');
}
std::string bytes_of(std::string_view header, std::size_t data_size) {
  return bytes_of(header, data_size, header.size());
}

SafetensorsFile parse(const std::string& content) {
  return parse_safetensors(std::as_bytes(std::span(content)), "x");
}

std::string error_of(const std::string& content) {
  return message_of<Error>([&] { parse(content); });
}

/// Puts `fields` into a header with one tensor.
std::string error_of_tensor(const std::string& fields, std::size_t data_size = 4) {
  return error_of(bytes_of("{\"w\":{" + fields + "}}", data_size));
}

TEST_CASE("a safetensors file reads back as it was written") {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.safetensors");
  write_safetensors(path, example());
  CHECK(read_safetensors(path) == example());
  CHECK(parse(read_text(path)) == example());
  CHECK(folder.names() == std::vector<std::string>{"model.safetensors"});
  write_safetensors(path, {});
  CHECK(read_safetensors(path) == SafetensorsFile{});
}

TEST_CASE("equal content gives equal bytes, aligned and in a fixed order") {
  const TemporaryFolder folder;
  write_safetensors(folder.file("one"), example());
  write_safetensors(folder.file("two"), example());
  const std::string one = read_text(folder.file("one"));
  CHECK(one == read_text(folder.file("two")));
  const std::vector<std::byte> formatted = format_safetensors(example());
  CHECK(one == std::string(reinterpret_cast<const char*>(formatted.data()), formatted.size()));

  std::uint64_t length = 0;
  std::memcpy(&length, one.data(), 8);
  CHECK(length % 8 == 0);
  // The whole header, so that no path, time or host can slip in.
  std::string header = one.substr(8, length);
  header.erase(header.find_last_not_of(' ') + 1);
  CHECK(header == R"({"__metadata__":{"model":"od_resnet18","note":"a \"quoted\" line\nand ümlauts"},)"
                  R"("a.count":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
                  R"("b.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},)"
                  R"("c.empty":{"dtype":"F64","shape":[0,5],"data_offsets":[8,8]},)"
                  R"("d.bytes":{"dtype":"U8","shape":[3],"data_offsets":[36,39]},)"
                  R"("half":{"dtype":"BF16","shape":[2],"data_offsets":[32,36]}})");
}

TEST_CASE("every type of the format is read and any other refused by its name") {
  const std::pair<const char*, DType> types[] = {{"F64", DType::f64},   {"F32", DType::f32}, {"F16", DType::f16},
                                                 {"BF16", DType::bf16}, {"I64", DType::i64}, {"I32", DType::i32},
                                                 {"U8", DType::u8}};
  for (const auto& [name, dtype] : types) {
    const std::size_t size = 2 * size_of(dtype);
    const std::string fields = concat("\"data_offsets\":[0,", size, "],\"dtype\":\"", name, "\",\"shape\":[2,1]");
    const SafetensorsFile file = parse(bytes_of("{\"w\":{" + fields + "}}  \n", size));
    CHECK(file.tensors.at("w").dtype == dtype);
    CHECK(file.tensors.at("w").shape == Shape{2, 1});
  }
  for (const std::string name : {"F8_E4M3", "F8_E5M2", "BOOL", "I16", "U64", "f32", ""}) {
    CHECK_THAT(error_of_tensor("\"dtype\":\"" + name + "\",\"shape\":[4],\"data_offsets\":[0,4]"),
               ContainsSubstring(
                   "[safetensors] x: expected F64, F32, F16, BF16, I64, I32 or U8 as dtype for tensor \"w\", got \"" +
                   name + '"'));
  }
}

TEST_CASE("a header that does not fit its file is refused before memory is taken for it") {
  const auto too_long = std::uint64_t{1} << 60;
  CHECK_THAT(error_of(bytes_of("{}", 0, too_long)),
             ContainsSubstring("header of at most 100000000 bytes, got a length of 1152921504606846976"));
  CHECK_THAT(error_of(bytes_of("{}", 0, ~std::uint64_t{0})), ContainsSubstring("got a length of 18446744073709551615"));
  CHECK_THAT(error_of(bytes_of("{}", 0, 100'000'001)), ContainsSubstring("at most 100000000 bytes"));
  CHECK_THAT(error_of(bytes_of("{}", 0, 100'000'000)),
             ContainsSubstring("header of 100000000 bytes, got 2 bytes: truncated"));
  CHECK_THAT(error_of(bytes_of("{}", 0, 3)), ContainsSubstring("header of 3 bytes, got 2 bytes"));
  CHECK_THAT(error_of(bytes_of("{}", 0, 0)), ContainsSubstring("expected a header that starts with '{'"));
  CHECK_THAT(error_of("1234567"), ContainsSubstring("expected at least 8 bytes, got 7"));
  CHECK_THAT(error_of(""), ContainsSubstring("expected at least 8 bytes, got 0"));
  CHECK_THAT(error_of("PK\3\4" + std::string(100, 'x')),
             ContainsSubstring("got a zip archive such as torch.save writes"));
}

TEST_CASE("a header that is not JSON of the expected form is refused") {
  CHECK_THAT(error_of(bytes_of("{\"w\":", 0)),
             ContainsSubstring("expected a JSON header of UTF-8, got other text at header byte"));
  CHECK_THAT(error_of(bytes_of("{} {}", 0)), ContainsSubstring("got other text at header byte"));
  CHECK_THAT(error_of(bytes_of(std::string_view("{}\0{}", 5), 0)),
             ContainsSubstring("got a zero byte at header byte 2"));
  CHECK_THAT(error_of(bytes_of("[]", 0)), ContainsSubstring("expected a header that starts with '{', got \"[]\""));
  CHECK_THAT(error_of(bytes_of("\xEF\xBB\xBF{}", 0)), ContainsSubstring("expected a header that starts with '{'"));
  CHECK_THAT(error_of(bytes_of("{\"\xFF\":{}}", 0)), ContainsSubstring("got another encoding at header byte 3"));
  CHECK_THAT(error_of(bytes_of("{\"\xC0\xAF\":{}}", 0)), ContainsSubstring("got another encoding"));
  CHECK_THAT(error_of(bytes_of("{\"\\ud800\":{}}", 0)), ContainsSubstring("expected a JSON header of UTF-8"));
  CHECK_THAT(error_of(bytes_of("{\"w\":1e999}", 0)), ContainsSubstring("expected a JSON header of UTF-8"));
  for (const std::string value : {"1", "-1", "1.5", "true", "null", "\"text\"", "[]"}) {
    CHECK_THAT(error_of(bytes_of("{\"w\":" + value + "}", 0)),
               ContainsSubstring("expected an object for tensor \"w\", got "));
  }
  CHECK_THAT(error_of(bytes_of("{\"w\":{}}", 0)),
             ContainsSubstring("expected dtype, shape and data_offsets for tensor \"w\", got fewer"));
  CHECK_THAT(error_of_tensor("\"strides\":[1]"),
             ContainsSubstring("expected dtype, shape and data_offsets for tensor \"w\", got \"strides\""));
  CHECK_THAT(error_of_tensor("\"dtype\":7"), ContainsSubstring("expected a text as dtype for tensor \"w\", got 7"));
  CHECK_THAT(error_of_tensor("\"shape\":7"), ContainsSubstring("expected a list as shape for tensor \"w\", got 7"));
  CHECK_THAT(error_of_tensor("\"data_offsets\":{}"),
             ContainsSubstring("expected a list as data_offsets for tensor \"w\", got an object"));
  CHECK_THAT(error_of(bytes_of("{\"__metadata__\":{\"k\":1}}", 0)),
             ContainsSubstring("expected a text as value for metadata \"k\", got 1"));
  CHECK_THAT(error_of(bytes_of("{\"__metadata__\":[]}", 0)),
             ContainsSubstring("expected an object for __metadata__, got a list"));
}

TEST_CASE("nesting of any depth is refused where it begins") {
  const std::string lists(1'000'000, '[');
  CHECK_THAT(error_of_tensor("\"shape\":" + lists),
             ContainsSubstring("whole numbers of at least 0 in shape for tensor \"w\", got a list"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"w\":";
  CHECK_THAT(error_of(bytes_of(objects, 0)), ContainsSubstring("expected dtype, shape and data_offsets"));
}

TEST_CASE("a name that comes twice is refused, wherever it does") {
  const std::string w = R"("w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  CHECK_THAT(error_of(bytes_of("{" + w + "," + w + "}", 1)),
             ContainsSubstring("expected each name once for tensor \"w\", got it twice"));
  CHECK_THAT(error_of(bytes_of(R"({"__metadata__":{"k":"1","k":"2"}})", 0)),
             ContainsSubstring("each name once for metadata \"k\", got it twice"));
  CHECK_THAT(error_of(bytes_of(R"({"__metadata__":{},"__metadata__":{}})", 0)),
             ContainsSubstring("each name once for __metadata__"));
  CHECK_THAT(error_of_tensor(R"("dtype":"U8","dtype":"U8")"),
             ContainsSubstring("each name once for tensor \"w\", got dtype twice"));
  CHECK_THAT(error_of_tensor(R"("shape":[],"shape":[])"), ContainsSubstring("got shape twice"));
  CHECK_THAT(error_of_tensor(R"("data_offsets":[0,0],"data_offsets":[0,0])"),
             ContainsSubstring("got data_offsets twice"));
}

TEST_CASE("shapes must be whole numbers whose product is a size in memory") {
  const auto of_shape = [](const std::string& shape) {
    return error_of_tensor("\"dtype\":\"F32\",\"shape\":" + shape + ",\"data_offsets\":[0,4]");
  };
  for (const std::string extent : {"-1", "-0", "1.0", "1e2", "18446744073709551616"}) {
    CHECK_THAT(of_shape("[" + extent + "]"),
               ContainsSubstring("expected whole numbers of at least 0 in shape for tensor \"w\", got "));
  }
  for (const std::string shape :
       {"[4294967296, 4294967296]", "[9223372036854775808]", "[18446744073709551615]", "[4611686018427387904]",
        "[3, 4294967296, 4294967296, 0]", "[0, 9223372036854775808]", "[1152921504606846976, 0]"}) {
    CHECK_THAT(of_shape(shape),
               ContainsSubstring("expected shapes of less than 2^60 elements, got tensor \"w\" of F32 " + shape));
  }
  std::string many = "[1";
  for (int i = 0; i < 64; ++i) many += ",1";
  CHECK_THAT(of_shape(many + "]"), ContainsSubstring("expected at most 64 extents for tensor \"w\", got more"));
  CHECK(of_shape("[1]") == "no error");
}

TEST_CASE("data offsets must cover the data exactly, in pieces that fit the tensors") {
  const auto of_offsets = [](const std::string& offsets, std::size_t data_size = 4) {
    return error_of_tensor("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" + offsets, data_size);
  };
  CHECK_THAT(of_offsets("[0]"), ContainsSubstring("expected two data_offsets for tensor \"w\", got fewer"));
  CHECK_THAT(of_offsets("[0,4,8]"), ContainsSubstring("expected two data_offsets for tensor \"w\", got more"));
  CHECK_THAT(of_offsets("[-4,0]"),
             ContainsSubstring("whole numbers of at least 0 in data_offsets for tensor \"w\", got -4"));
  CHECK_THAT(of_offsets("[0,3]"),
             ContainsSubstring("expected 4 bytes for tensor \"w\" of F32 [1], got data_offsets [0, 3]"));
  CHECK_THAT(of_offsets("[4,0]"),
             ContainsSubstring("expected 4 bytes for tensor \"w\" of F32 [1], got data_offsets [4, 0]"));
  CHECK_THAT(of_offsets("[18446744073709551612,0]"), ContainsSubstring("expected 4 bytes"));
  CHECK_THAT(
      of_offsets("[4,8]"),
      ContainsSubstring("expected at least 8 bytes of data for tensor \"w\" of F32 [1], got 4: the file is truncated"));
  CHECK_THAT(of_offsets("[0,4]", 3),
             ContainsSubstring("expected at least 4 bytes of data for tensor \"w\" of F32 [1], got 3"));
  CHECK_THAT(of_offsets("[0,4]", 5),
             ContainsSubstring("expected 4 bytes of data, got 5: bytes of no tensor at the end"));
  CHECK_THAT(of_offsets("[1,5]", 5),
             ContainsSubstring("expected tensor \"w\" to start at data byte 0, got 1: bytes of no tensor before it"));

  const auto of_two = [](const std::string& first, const std::string& second, std::size_t data_size) {
    const std::string form = R"({"dtype":"U8","shape":[4],"data_offsets":)";
    return error_of(bytes_of("{\"v\":" + form + first + "},\"w\":" + form + second + "}}", data_size));
  };
  CHECK(of_two("[0,4]", "[4,8]", 8) == "no error");
  CHECK(of_two("[4,8]", "[0,4]", 8) == "no error");
  CHECK_THAT(of_two("[0,4]", "[3,7]", 7),
             ContainsSubstring("tensor \"w\" to start at data byte 4, got 3: it overlaps another"));
  CHECK_THAT(of_two("[0,4]", "[0,4]", 4), ContainsSubstring("to start at data byte 4, got 0: it overlaps another"));
  CHECK_THAT(of_two("[0,4]", "[5,9]", 9),
             ContainsSubstring("to start at data byte 4, got 5: bytes of no tensor before it"));
}

TEST_CASE("a file cut anywhere is an error of one line, never a crash") {
  const std::vector<std::byte> whole = format_safetensors(example());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string message =
        message_of<Error>([&] { parse_safetensors(std::span(whole).first(size), "cut.safetensors"); });
    REQUIRE_THAT(message, StartsWith("[safetensors] cut.safetensors: expected "));
    REQUIRE(message.find('\n') == std::string::npos);
  }
}

TEST_CASE("each file of the fuzzer's corpus is refused in one line, or reads back as it is written") {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(OMNICONV_FUZZ_CORPUS "/safetensors")) {
    INFO(entry.path().string());
    const std::string content = read_text(entry.path().string());
    CHECK_NOTHROW(check_safetensors(std::as_bytes(std::span(content))));
    ++files;
  }
  CHECK(files >= 17);
}

TEST_CASE("a name with control characters or of great length does not break the message") {
  std::string name = "a\\nb";
  name.append(1000, 'c');
  const std::string message = error_of(bytes_of("{\"" + name + "\":1}", 0));
  CHECK_THAT(message, ContainsSubstring("\"a\\x0ab"));
  CHECK(message.find('\n') == std::string::npos);
  CHECK(message.size() < 200);
}

TEST_CASE("files that cannot be read say why") {
  const TemporaryFolder folder;
  const auto error = [](const std::string& path) { return message_of<Error>([&] { read_safetensors(path); }); };
  CHECK_THAT(error(folder.file("absent")),
             ContainsSubstring("absent: expected a readable file, got: No such file or directory"));
  CHECK_THAT(error(folder.path().string()), ContainsSubstring("expected a regular file, got a folder"));
  CHECK_THAT(error("/dev/null"), ContainsSubstring("expected a regular file, got a device or pipe"));
  write_text(folder.file("short"), bytes_of("{}", 0, std::uint64_t{1} << 60));
  CHECK_THAT(error(folder.file("short")), ContainsSubstring("short: expected a header of at most 100000000 bytes"));
}

TEST_CASE("what cannot be written leaves the old file and no other") {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.safetensors");
  write_safetensors(path, example());
  const std::string before = read_text(path);
  SafetensorsFile larger = example();
  larger.tensors["large"] = make_host_tensor(std::vector<float>(100'000), {100'000});

  SECTION("no room on the disk, played by a limit on the size of files") {
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
    rlimit small = limit;
    small.rlim_cur = 10'000;
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    const std::string message = message_of<Error>([&] { write_safetensors(path, larger); });
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
    std::signal(SIGXFSZ, handler);
    CHECK_THAT(message, ContainsSubstring("[safetensors] " + path + ": expected to write "));
    CHECK_THAT(message, ContainsSubstring("File too large"));
  }
  SECTION("no such folder") {
    CHECK_THAT(message_of<Error>([&] { write_safetensors(folder.file("absent/model"), larger); }),
               ContainsSubstring("absent/model: expected to write ") && ContainsSubstring("No such file or directory"));
  }
  SECTION("a folder of that name") {
    std::filesystem::create_directories(folder.path() / "taken");
    CHECK_THAT(message_of<Error>([&] { write_safetensors(folder.file("taken"), larger); }),
               ContainsSubstring("Is a directory"));
    std::filesystem::remove(folder.path() / "taken");
  }
  SECTION("bytes that do not fit the shape") {
    larger.tensors["large"].bytes.pop_back();
    CHECK_THAT(message_of<Error>([&] { write_safetensors(path, larger); }),
               ContainsSubstring("expected 400000 bytes for tensor \"large\" of f32 [100000], got 399999"));
  }
  SECTION("a name that is not UTF-8") {
    larger.tensors["\xFF"] = make_host_tensor<float>({1}, {1});
    CHECK_THAT(message_of<Error>([&] { write_safetensors(path, larger); }),
               ContainsSubstring("expected names and metadata of UTF-8"));
  }
  SECTION("the name that the format reserves") {
    larger.tensors["__metadata__"] = make_host_tensor<float>({1}, {1});
    CHECK_THAT(message_of<Error>([&] { write_safetensors(path, larger); }),
               ContainsSubstring("which the format reserves"));
  }
  CHECK(read_text(path) == before);
  CHECK(folder.names() == std::vector<std::string>{"model.safetensors"});
}

TEST_CASE("a temporary name left behind by a killed process is no obstacle") {
  const TemporaryFolder folder;
  const std::string path = folder.file("model");
  write_text(path + ".tmp-" + std::to_string(::getpid()) + "-0", "left behind");
  write_safetensors(path, example());
  CHECK(read_safetensors(path) == example());
}

}  // namespace
}  // namespace omniconv::test
