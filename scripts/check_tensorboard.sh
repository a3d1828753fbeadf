#!/usr/bin/env bash
# Reads event files back with TensorBoard's own reader, which is installed into a folder of its own under build/.
# Exits with 77 where the reader cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/install.sh

omniconv_install "${omniconv_packages[@]}" python3-pip
OMNICONV_TARGET=omniconv omniconv_build cpu
packages=build/tensorboard
if ! PYTHONPATH=$packages python3 -c 'import PIL, tensorboard' 2>/dev/null; then
  python3 -m pip install --quiet --target "$packages" tensorboard pillow ||
    { echo "check_tensorboard: skipped, TensorBoard could not be installed" >&2; exit 77; }
fi
PYTHONPATH=$packages python3 scripts/check_tensorboard.py --omniconv build/cpu/omniconv
