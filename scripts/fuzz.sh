#!/usr/bin/env bash
# Fuzzes the safetensors reader from the corpus on. Usage: scripts/fuzz.sh [SECONDS], 60 by default. A finding ends it
# with an error and lies in build/fuzz then; add it to the corpus once it is mended.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/install.sh

omniconv_install g++ cmake ninja-build ccache nlohmann-json3-dev clang libclang-rt-dev
omniconv_build fuzz
found=build/fuzz/corpus
mkdir -p "$found"
build/fuzz/safetensors_fuzz "$found" tests/fuzz/corpus/safetensors -dict=tests/fuzz/safetensors.dict \
  -max_total_time="${1:-60}" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -artifact_prefix=build/fuzz/ -verbosity=0 \
  -print_final_stats=1
