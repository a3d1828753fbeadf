#!/usr/bin/env bash
# Writes the pages of two small runs and their comparison, and opens them in headless Chromium.
# Usage: scripts/check_report.sh [OPTIONS OF check_report.py]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/install.sh

omniconv_install "${omniconv_packages[@]}" chromium
omniconv_build cpu
omniconv=build/cpu/omniconv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$omniconv" synth --out "$work/data" --train 100 --test 50 >/dev/null
for model in od_resnet18 resnet18; do
  "$omniconv" train --data "$work/data" --model $model --width 8 --epochs 2 --batch-size 20 --temperature 1 \
    --out "$work/$model" >/dev/null
  "$omniconv" report "$work/$model"
done
"$omniconv" report "$work/od_resnet18" "$work/resnet18" --out "$work/compared.html"
python3 scripts/check_report.py "$work"/*/report.html "$work/compared.html" "$@"
