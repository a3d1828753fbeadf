// Names and texts from disks.
#include "engine/files.h"

#include "tests/catch.h"

namespace omniconv::test {
namespace {

TEST_CASE("what is UTF-8 and what is not") {
  for (const char* text : {"", "plain", "\x7F", "\xC2\x80", "gr\xC3\xBC\xC3\x9F", "\xE2\x82\xAC", "\xED\x9F\xBF",
                           "\xEE\x80\x80", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    INFO(text);
    CHECK(is_utf8(text));
  }
  CHECK(is_utf8(std::string_view("\0", 1)));
  // Latin-1, a byte that only goes on, characters cut short, longer than need be, of UTF-16, too high; no first byte.
  for (const char* text : {"gr\xFC\xDF", "\x80", "a\xC3", "\xC3z", "\xE2\x82", "\xE2\x82z", "\xC1\xBF", "\xE0\x9F\xBF",
                           "\xF0\x8F\xBF\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80",
                           "\xFF"}) {
    INFO(in_quotes(text));
    CHECK_FALSE(is_utf8(text));
  }
}

}  // namespace
}  // namespace omniconv::test
