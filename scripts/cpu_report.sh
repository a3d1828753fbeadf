#!/usr/bin/env bash
# Measures training steps on this machine's CPU and prints Markdown: PyTorch and omniconv in turns, then od_resnet18
# layer by layer, with algorithms A, B, C and D forced in turn. Takes about an hour on two cores; run it on a quiet
# machine.
#
# Usage: scripts/cpu_report.sh [options of scripts/bench_pytorch.py]
# PYTHON names a Python with PyTorch (default python3), OMNICONV the program (default build/cpu/omniconv).
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
omniconv=${OMNICONV:-build/cpu/omniconv}
[ -x "$omniconv" ] || { echo "cpu_report: expected the program at $omniconv: run cmake --build --preset cpu" >&2; exit 1; }

# block COMMAND...: the command and what it prints.
block() {
  printf '`%s`\n\n```\n' "$*"
  "$@"
  printf '```\n\n'
}

echo "Machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores; $(date -u +%F);" \
  "commit $(git rev-parse --short HEAD); $("$omniconv" --version | tr '\n' ' ')"
echo
printf '`scripts/bench_pytorch.py %s`\n\n' "$*"
"$python" scripts/bench_pytorch.py --omniconv "$omniconv" "$@"
echo
block "$omniconv" bench --model od_resnet18 --kernels 4 --batch-size 32 --steps 7 --layers
block "$omniconv" bench --model od_resnet18 --kernels 4 --batch-size 32 --steps 5 --ablate
