#!/usr/bin/env bash
# Checks exported models in ONNX Runtime, which is installed into a Python environment of its own under build/.
# Usage: scripts/check_onnx.sh [OPTIONS OF check_onnx.py]. Exits with 77 where the runtime cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/install.sh

omniconv_install "${omniconv_packages[@]}" python3-venv
OMNICONV_TARGET=omniconv omniconv_build cpu
python=build/onnx/bin/python
if ! "$python" -c 'import numpy, onnx, onnxruntime' 2>/dev/null; then
  python3 -m venv build/onnx && "$python" -m pip install --quiet numpy onnx onnxruntime ||
    { echo "check_onnx: skipped, ONNX Runtime could not be installed" >&2; exit 77; }
fi
"$python" scripts/check_onnx.py --omniconv build/cpu/omniconv "$@"
