#!/usr/bin/env bash
# Installs what omniconv is built from, where it is missing: Debian 12 and Ubuntu 24.04. Sourced by the other scripts.
# With OMNICONV_INSTALL=off nothing is installed: for machines where packages come from elsewhere, which CMake finds by
# CMAKE_PREFIX_PATH.
set -euo pipefail

omniconv_packages=(g++ cmake ninja-build ccache libdnnl-dev libboost-context-dev libcli11-dev nlohmann-json3-dev catch2
                   libstb-dev libonnx-dev libprotobuf-dev protobuf-compiler libboost-dev)

omniconv_install() {
  [ "${OMNICONV_INSTALL:-on}" != off ] || return 0
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if ! command -v apt-get >/dev/null; then
    echo "omniconv: please install: ${missing[*]} (this script knows apt-get only)" >&2
    return 1
  fi
  local root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  echo "Installing ${missing[*]}"
  "${root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Device of the build on this machine: cuda where a GPU and nvcc answer, else cpu.
omniconv_device() {
  if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1 && [ -n "$(omniconv_nvcc)" ]; then
    echo cuda
  else
    echo cpu
  fi
}

omniconv_nvcc() {
  command -v nvcc || { [ -x /usr/local/cuda/bin/nvcc ] && echo /usr/local/cuda/bin/nvcc; } || true
}

# omniconv_build PRESET [CMAKE OPTIONS]: configures and builds build/PRESET: all of it, or OMNICONV_TARGET. With
# OMNICONV_WERROR=on a warning is an error: other compilers than ours may have others.
omniconv_build() {
  local preset=$1
  shift
  if [ "$preset" = cuda ]; then
    CUDACXX=$(omniconv_nvcc)
    export CUDACXX
  fi
  cmake --preset "$preset" -DCMAKE_COMPILE_WARNING_AS_ERROR="${OMNICONV_WERROR:-off}" "$@" >/dev/null
  cmake --build --preset "$preset" --target "${OMNICONV_TARGET:-all}"
}
