// What the machine and the build give the tests.
#pragma once

namespace omniconv::test {

/// False in a build for the CPU, and where no GPU can be used.
bool gpu_answers();

}  // namespace omniconv::test
