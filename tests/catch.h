// Catch2, whichever of versions 2.13 (Debian) and 3 (Ubuntu 24.04) is there, under one set of names.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
namespace omniconv::test {
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
}  // namespace omniconv::test
#else
#include <catch2/catch.hpp>

#include <string>
namespace omniconv::test {
using Catch::Detail::Approx;
using Catch::Matchers::StartsWith;
inline auto ContainsSubstring(const std::string& part) {
  return Catch::Matchers::Contains(part);
}
}  // namespace omniconv::test
#endif
