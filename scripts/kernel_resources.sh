#!/usr/bin/env bash
# Compiles the kernels for every GPU architecture of the CUDA build and prints what the compiler gives each of them, as
# a Markdown table: registers of a thread per architecture, bytes of a thread in local memory and bytes spilled (stores
# and loads) on the architecture where they are most, and static shared memory of a block. Dynamic shared memory is the
# launches' business and not in it.
#
# Usage: scripts/kernel_resources.sh > docs/kernel-resources.md
# Needs nvcc and cuDNN, no GPU. Exits with 1 if a kernel spills or uses local memory, but for those in f64, which exists
# for gradient checks.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/install.sh

case "${1:-}" in
  "") ;;
  -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "kernel_resources: unknown option $1 (try --help)" >&2; exit 2 ;;
esac
nvcc=$(omniconv_nvcc)
[ -n "$nvcc" ] || { echo "kernel_resources: expected nvcc, got none: install the CUDA toolkit" >&2; exit 1; }

build=build/kernel_resources
log=$build/compiler.txt
CUDACXX=$nvcc cmake -S . -B "$build" -G Ninja -DOMNICONV_DEVICE=cuda -DCMAKE_BUILD_TYPE=Release -DOMNICONV_TESTS=OFF \
  -DCMAKE_CUDA_FLAGS=-Xptxas=-v >/dev/null
cmake --build "$build" --clean-first -t kernels >"$log" 2>&1 || { cat "$log" >&2; exit 1; }

cat <<TEXT
# What the compiler gives each kernel

By \`scripts/kernel_resources.sh\` with nvcc $("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p'): registers of a thread per architecture,
bytes of a thread in local memory and bytes spilled (of the architecture where they are most), static shared memory of
a block. Element-wise kernels (\`for_each\`) are checked but not listed; f64 exists for gradient checks and may spill.

TEXT

# file, mangled name, architecture, registers, local bytes, spilled bytes, static shared bytes
awk -v OFS='\t' '
  /Building CUDA object/ { file = $NF; sub(/.*\//, "", file); sub(/\.o$/, "", file) }
  /Compiling entry function/ { split($0, quoted, "\047"); name = quoted[2]; arch = quoted[4] }
  /bytes spill stores/ { local = $1; spilled = $5 + $9 }
  /Used [0-9]+ registers/ {
    registers = shared = 0
    for (i = 2; i <= NF; ++i) {
      if ($i ~ /^registers/) registers = $(i - 1)
      if ($i ~ /^smem/) shared = $(i - 2)
    }
    print file, name, arch, registers, local, spilled, shared
  }' "$log" | c++filt | awk -F'\t' '
  # omniconv::kernels::f<float>(float*) -> f<float>
  function short(name,    i, c, round, result) {
    gsub(/\(anonymous namespace\)::/, "", name)
    gsub(/omniconv::|kernels::|simt::|detail::/, "", name)
    sub(/^void /, "", name)
    for (i = 1; i <= length(name); ++i) {
      c = substr(name, i, 1)
      if (c == "(") ++round
      if (!round) result = result c
      if (c == ")") --round
    }
    return result
  }
  {
    key = $1 "\t" short($2)
    if (!($3 in arch_seen)) { arch_seen[$3] = 1; archs[++arch_count] = $3 }
    registers[key, $3] = $4
    if ($5 > local[key]) local[key] = $5
    if ($6 > spilled[key]) spilled[key] = $6
    shared[key] = $7
    keys[key] = 1
    if ($5 + $6 > 0 && key !~ /<double/) spills = 1
  }
  END {
    head = "| file | kernel |"; rule = "|---|---|"
    for (a = 1; a <= arch_count; ++a) { head = head " " archs[a] " |"; rule = rule "---|" }
    print head " local | spilled | static shared |"; print rule "---|---|---|"
    for (key in keys) if (key !~ /for_each/) {
      split(key, part, "\t")
      line = "| " part[1] " | `" part[2] "` |"
      for (a = 1; a <= arch_count; ++a) line = line " " registers[key, archs[a]] " |"
      print line " " local[key] + 0 " | " spilled[key] + 0 " | " shared[key] " |" | "sort"
    }
    close("sort")
    exit spills
  }'
