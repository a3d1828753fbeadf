// JSON for people's files: names on a disk are bytes, not always UTF-8.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace omniconv {

/// `json` on one line; bytes that are no UTF-8 become U+FFFD.
inline std::string json_line(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace omniconv
