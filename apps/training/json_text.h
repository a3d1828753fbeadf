// JSON of people's files: anyone may have written them, and names on a disk are bytes, not always UTF-8.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace omniconv {

/// `json` on one line; bytes that are no UTF-8 become U+FFFD.
inline std::string json_line(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// `text` as JSON; where it is none, or nested more deeply than any file of ours, a discarded value, which is neither
/// an object nor a list nor anything else. The library parses any depth, but writes and compares by recursion.
template <class Json = nlohmann::json>
Json parse_json(std::string_view text) {
  constexpr int deepest = 16;
  bool too_deep = false;
  const auto look = [&](int depth, auto, auto&) {
    too_deep = too_deep || depth > deepest;
    return !too_deep;
  };
  Json json = Json::parse(text, look, false);
  return too_deep ? Json(Json::value_t::discarded) : json;
}

}  // namespace omniconv
