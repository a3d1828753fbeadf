#!/usr/bin/env bash
# On a machine with a GPU: builds the cuda preset, runs all tests, runs the kernels' tests under compute-sanitizer,
# trains, times layers, algorithms and fusions, and compares training steps with PyTorch. Writes docs/results-gpu.md;
# says which tools were missing.
#
# Usage: scripts/gpu_report.sh [DATA_DIR]
#   DATA_DIR   a folder with CIFAR-10's binary version, to train on; a synthetic data set without it
# PYTHON names a Python with a CUDA PyTorch (default python3). Without a GPU it says so and exits with 0; with one it
# exits with 1 if something failed, which the report then names. OMNICONV_INSTALL=off installs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/install.sh

case "${1:-}" in
  -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "gpu_report: unknown option $1 (try --help)" >&2; exit 2 ;;
esac
[ $# -le 1 ] || { echo "gpu_report: expected at most one folder, got $# arguments" >&2; exit 2; }
data=synthetic
if [ $# -eq 1 ]; then
  [ -d "$1" ] || { echo "gpu_report: expected a folder, got $1" >&2; exit 1; }
  data=$(realpath "$1")
fi
if [ "$(omniconv_device)" != cuda ]; then
  echo "gpu_report: no GPU with nvcc on this machine, nothing to report"
  exit 0
fi

python=${PYTHON:-python3}
report=docs/results-gpu.md
work=build/gpu_report
rm -rf "$work"
mkdir -p "$work"
failed=()

# step NAME COMMAND...: runs it with its output in $work/NAME.txt, and remembers a failure.
step() {
  local name=$1
  shift
  echo "gpu_report: $name" >&2
  if "$@" >"$work/$name.txt" 2>&1; then
    return 0
  fi
  failed+=("$name")
  echo "gpu_report: $name failed, see $work/$name.txt" >&2
  return 1
}
# quoted NAME [LINES]: the end of a step's output as a Markdown block.
quoted() {
  printf '```\n%s\n```\n\n' "$(tail -n "${2:-12}" "$work/$1.txt")"
}

# watched NAME COMMAND...: a step during which the share of time that a kernel runs is sampled into $work/NAME.busy.
watched() {
  local sampler result=0
  : >"$work/$1.busy"
  nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits --id=0 --loop-ms=200 >"$work/$1.busy" 2>&1 &
  sampler=$!
  step "$@" || result=$?
  kill "$sampler" 2>/dev/null || true
  wait "$sampler" 2>/dev/null || true
  return "$result"
}
# busy NAME: their mean, from the first sample at work to the last: without start-up and end.
busy() {
  awk '$1 ~ /^[0-9]+$/ { share[++n] = $1; if ($1 >= 50) { if (!first) first = n; last = n } }
       END { if (!first) { print "not sampled"; exit }
             for (i = first; i <= last; ++i) sum += share[i]
             printf "%.1f %% (mean of %d samples, nvidia-smi)\n", sum / (last - first + 1), last - first + 1 }' \
    "$work/$1.busy"
}

omniconv_install "${omniconv_packages[@]}"
step build omniconv_build cuda || { cat "$work/build.txt" >&2; exit 1; }
omniconv=build/cuda/omniconv

{
  gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit \
    --format=csv,noheader --id=0)
  IFS=, read -r name driver memory sm_clock memory_clock power <<<"$gpu"
  echo "# Results on a GPU"
  echo
  echo "Written by \`scripts/gpu_report.sh\` on $(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)."
  echo
  echo "| | |"
  echo "|---|---|"
  echo "| GPU | $name,$memory |"
  echo "| driver |$driver |"
  echo "| clocks, at most | SM$sm_clock, memory$memory_clock, power$power |"
  echo "| CUDA compiler | $("$(omniconv_nvcc)" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p') |"
  echo "| processor | $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) threads |"
  echo
} >"$report"

{
  echo "## Tests"
  echo
  step tests ctest --preset cuda || true
  quoted tests
  echo "## Tests of the kernels under compute-sanitizer"
  echo
  sanitizer=$(command -v compute-sanitizer || true)
  [ -n "$sanitizer" ] || sanitizer=$(dirname "$(omniconv_nvcc)")/compute-sanitizer
  if [ -x "$sanitizer" ]; then
    for tool in memcheck racecheck initcheck; do
      for program in simt_tests kernels_tests; do
        step "$tool-$program" "$sanitizer" --tool "$tool" --error-exitcode 1 "build/cuda/$program" "[cuda]" || true
        echo "$tool, $program:"
        quoted "$tool-$program" 4
      done
    done
  else
    echo "compute-sanitizer was not found: not run."
    echo
  fi
} >>"$report"

{
  echo "## Training"
  echo
  echo "od_resnet18, K = 4, batch 128, ten epochs on $([ "$data" = synthetic ] && echo "synthetic images" || echo "CIFAR-10")."
  echo
  for precision in f32 bf16; do
    if watched "train-$precision" "$omniconv" train --data "$data" --attention-init zero --temperature 1 --epochs 10 \
      --precision "$precision" --out "$work/run-$precision"; then
      echo "$precision, the GPU busy $(busy "train-$precision"):"
      quoted "train-$precision"
    else
      echo "$precision: failed."
      echo
    fi
  done
} >>"$report"

{
  echo "## Layer by layer, bf16"
  echo
  for batch in 128 512; do
    layers=("$omniconv" bench --model od_resnet18 --kernels 4 --batch-size "$batch" --precision bf16 --layers --steps 60)
    if step "layers-$batch" "${layers[@]}"; then
      echo "\`${layers[*]}\`:"
      quoted "layers-$batch" 100
    fi
  done
} >>"$report"

{
  echo "## Algorithms and fusions in turns, bf16"
  echo
  ablation=("$omniconv" bench --model od_resnet18 --kernels 4 --batch-size 128 --precision bf16 --ablate --steps 60)
  if step ablation "${ablation[@]}"; then
    echo "\`${ablation[*]}\`:"
    quoted ablation 100
  fi
} >>"$report"

{
  echo "## Training steps against PyTorch, bf16"
  echo
  if "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    threads=$(nproc)
    comparison=("$python" scripts/bench_pytorch.py --device cuda --precision bf16 --threads "$threads")
    if step comparison "${comparison[@]}"; then
      echo "By \`${comparison[*]}\`: 50 steps to warm up and 200 timed in each of 3 rounds, images on the GPU."
      echo
      grep -e '^PyTorch' -e '^|' "$work/comparison.txt" | sed 's/^PyTorch.*/&\n/'
      echo
    else
      quoted comparison
    fi
  else
    echo "No PyTorch with CUDA was found (PYTHON names another Python): not compared. Our own steps:"
    echo
    for model in od_resnet18 resnet18; do
      for batch in 128 512; do
        step "bench-$model-$batch" "$omniconv" bench --model "$model" --batch-size "$batch" --precision bf16 \
          --steps 250 && quoted "bench-$model-$batch" 6
      done
    done
  fi
  nvidia-smi --query-gpu=clocks.sm,temperature.gpu,power.draw --format=csv,noheader --id=0 |
    sed 's/^/GPU right after the runs (SM clock, temperature, power): /'
} >>"$report"

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nFailed: %s\n' "${failed[*]}" >>"$report"
  echo "gpu_report: wrote $report; failed: ${failed[*]}" >&2
  exit 1
fi
echo "gpu_report: wrote $report"
