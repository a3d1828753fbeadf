#!/usr/bin/env bash
# Installs, builds, and runs all tests. Usage: scripts/test.sh [PRESET], PRESET being cpu, cuda or asan; by default the
# device of this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/install.sh

omniconv_install "${omniconv_packages[@]}"
preset=${1:-$(omniconv_device)}
omniconv_build "$preset"
ctest --preset "$preset"
