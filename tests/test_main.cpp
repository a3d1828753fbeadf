// Runs the tests of one folder. `--require-gpu` as first argument ends with 77 (skipped) where no GPU answers.
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <cstring>
#include <iostream>
#include <vector>

#include "tests/environment.h"

namespace {

constexpr int skipped = 77;

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  if (argc > 1 && std::strcmp(argv[1], "--require-gpu") == 0) {
    if (!omniconv::test::gpu_answers()) {
      std::cout << "skipped: no GPU for this build\n";
      return skipped;
    }
    arguments.erase(arguments.begin() + 1);
  }
  return Catch::Session().run(static_cast<int>(arguments.size()), arguments.data());
}
