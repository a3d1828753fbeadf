#!/usr/bin/env bash
# On a machine with a GPU: builds the cuda preset, times steps, runs all tests, trains, compares training steps with
# PyTorch, times layers, algorithms and fusions, runs the kernels' tests under compute-sanitizer. Writes a report; says
# which tools were missing.
#
# Usage: scripts/gpu_report.sh [--data DIR] [--out FILE] [--limit SECONDS] [SECTION...]
#   --data DIR        a folder with CIFAR-10's binary version, to train on; without it drawn images, as many
#   --out FILE        the report, made anew after each section (default docs/results-gpu.md)
#   --limit SECONDS   for each command, which is stopped then and counts as failed (default 900)
#   SECTION           build steps tests training pytorch-128 pytorch-512 layers ablation sanitizers (default: all, in
#                     this order). What earlier calls found stays in the report, so a long one can be cut up.
# PYTHON names a Python with a CUDA PyTorch (default python3). Without a GPU it says so and exits with 0; with one it
# exits with 1 if something failed, which the report then names. OMNICONV_INSTALL=off installs nothing; without a network
# take that, and name the folders of packages brought along in CMAKE_PREFIX_PATH and of cuDNN in CUDNN_ROOT.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/install.sh

all_sections=(build steps tests training pytorch-128 pytorch-512 layers ablation sanitizers)
data= report=docs/results-gpu.md limit=900 sections=()
wrong() { echo "gpu_report: $1 (try --help)" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --data | --out | --limit)
      [ $# -ge 2 ] || wrong "expected a value behind $1"
      case "$1" in --data) data=$2 ;; --out) report=$2 ;; --limit) limit=$2 ;; esac
      shift 2 ;;
    *)
      [[ " ${all_sections[*]} " == *" $1 "* ]] || wrong "expected a section or an option, got $1"
      sections+=("$1")
      shift ;;
  esac
done
[[ "$limit" =~ ^[1-9][0-9]*$ ]] || wrong "expected --limit of whole seconds, got $limit"
[ ${#sections[@]} -gt 0 ] || sections=("${all_sections[@]}")
if [ -n "$data" ]; then
  [ -d "$data" ] || { echo "gpu_report: expected a folder, got $data" >&2; exit 1; }
  data=$(realpath "$data")
fi
if [ "$(omniconv_device)" != cuda ]; then
  echo "gpu_report: no GPU with nvcc on this machine, nothing to report"
  exit 0
fi

python=${PYTHON:-python3}
work=build/gpu_report  # of each section SECTION.md, of each step STEP.txt
mkdir -p "$work"
omniconv=build/cuda/omniconv
failed=()

# step NAME COMMAND...: runs it with its output in $work/NAME.txt, and remembers a failure.
step() {
  local name=$1
  shift
  echo "gpu_report: $name" >&2
  if timeout "$limit" "$@" >"$work/$name.txt" 2>&1; then
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
# shown NAME LINES COMMAND...: a step, its command and the end of what it printed.
shown() {
  local name=$1 lines=$2 result=0
  shift 2
  step "$name" "$@" || result=$?
  printf '`%s`:\n\n' "$*"
  quoted "$name" "$lines"
  return "$result"
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

# Each section prints its Markdown.

section_build() {
  echo "## Build"
  echo
  # The program first: what cannot be compiled of the tests costs only the tests.
  local build='source scripts/install.sh; omniconv_build cuda -DCMAKE_CUDA_ARCHITECTURES=native'
  OMNICONV_TARGET=omniconv step build bash -c "$build" || quoted build 40
  step build-tests bash -c "$build" || quoted build-tests 40
}

section_steps() {
  echo "## Training steps, bf16"
  echo
  local model batch
  for model in od_resnet18 resnet18; do
    for batch in 128 512; do
      shown "steps-$model-$batch" 7 "$omniconv" bench --model "$model" --batch-size "$batch" --precision bf16 --steps 250
    done
  done
}

section_tests() {
  echo "## Tests"
  echo
  if step tests ctest --preset cuda -j 4; then
    quoted tests
  else
    quoted tests 60
    echo "Those that failed, every launch waited for:"
    echo
    step tests-again env CUDA_LAUNCH_BLOCKING=1 ctest --preset cuda --rerun-failed
    quoted tests-again 60
  fi
}

section_training() {
  echo "## Training"
  echo
  local images=$data precision epochs
  if [ -z "$images" ]; then
    images=$work/images
    [ -d "$images" ] || step images "$omniconv" synth --out "$images" --train 50000 --test 10000
  fi
  for precision in bf16 f32; do
    epochs=$([ $precision = f32 ] && echo 2 || echo 10)
    echo "od_resnet18, K = 4, batch 128, $epochs epochs on $([ -n "$data" ] && echo CIFAR-10 || echo "50 000 drawn images"):"
    echo
    watched "train-$precision" "$omniconv" train --data "$images" --attention-init zero --temperature 1 \
      --epochs "$epochs" --precision "$precision" --out "$work/run-$precision"
    echo "$precision, the GPU busy $(busy "train-$precision"):"
    echo
    quoted "train-$precision" 20
  done
}

section_pytorch() {
  local batch=$1 comparison
  echo "## Training steps against PyTorch, bf16, batch $batch"
  echo
  if ! "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    echo "No PyTorch with CUDA was found (PYTHON names another Python): not compared."
    echo
    return
  fi
  comparison=("$python" scripts/bench_pytorch.py --device cuda --precision bf16 --threads "$(nproc)" --rounds 1 --limit 240
              --cases "static-b$batch" "od-k4-b$batch" "od-k1-b$batch")
  echo "By \`${comparison[*]}\`: 50 steps to warm up and 200 timed, images on the GPU."
  echo
  # The table of a comparison that was cut off counts as far as it goes.
  rm -f "$work/comparison-$batch.md"
  if ! step "pytorch-$batch" "${comparison[@]}" --write "$work/comparison-$batch.md"; then
    grep -v -e '^|' -e '^round' -e '^PyTorch' "$work/pytorch-$batch.txt" >"$work/complaints-$batch.txt"
    quoted "complaints-$batch" 30
  fi
  grep '^PyTorch' "$work/pytorch-$batch.txt" && echo
  cat "$work/comparison-$batch.md"
  echo
}

section_layers() {
  echo "## Layer by layer, bf16"
  echo
  local batch
  for batch in 128 512; do
    shown "layers-$batch" 100 "$omniconv" bench --model od_resnet18 --kernels 4 --batch-size "$batch" --precision bf16 \
      --layers --steps 60
  done
}

section_ablation() {
  echo "## Algorithms and fusions in turns, bf16"
  echo
  shown ablation 100 "$omniconv" bench --model od_resnet18 --kernels 4 --batch-size 128 --precision bf16 --ablate --steps 60
}

section_sanitizers() {
  echo "## Tests of the kernels under compute-sanitizer"
  echo
  local sanitizer tool program
  sanitizer=$(command -v compute-sanitizer || true)
  [ -n "$sanitizer" ] || sanitizer=$(dirname "$(omniconv_nvcc)")/compute-sanitizer
  if [ ! -x "$sanitizer" ]; then
    echo "compute-sanitizer was not found: not run."
    echo
    return
  fi
  for tool in memcheck racecheck initcheck; do
    for program in simt_tests kernels_tests; do
      # Blocks that are cached, and larger than asked for, would hide what goes beyond their end or their life.
      shown "$tool-$program" 4 env OMNICONV_NO_MEMORY_CACHING=1 "$sanitizer" --tool "$tool" --error-exitcode 1 \
        "build/cuda/$program" "[cuda]"
    done
  done
}

section_machine() {
  local name driver memory sm_clock memory_clock power
  IFS=, read -r name driver memory sm_clock memory_clock power <<<"$(nvidia-smi --format=csv,noheader --id=0 \
    --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit)"
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
}

# section NAME: writes its Markdown, with what failed, and the report of all sections so far.
section() {
  local before=${#failed[@]} started=$SECONDS other
  {
    case "$1" in
      pytorch-*) section_pytorch "${1#pytorch-}" ;;
      *) "section_$1" ;;
    esac
    if [ ${#failed[@]} -gt "$before" ]; then
      printf 'Failed: %s.\n\n' "${failed[*]:$before}"
    fi
    if [ "$1" != machine ] && [ "$1" != build ]; then
      printf '%s s; GPU then: %s (SM clock, temperature, power).\n\n' $((SECONDS - started)) \
        "$(nvidia-smi --query-gpu=clocks.sm,temperature.gpu,power.draw --format=csv,noheader --id=0)"
    fi
  } >"$work/$1.md"
  for other in machine "${all_sections[@]}"; do
    [ ! -f "$work/$other.md" ] || cat "$work/$other.md"
  done >"$report"
}

omniconv_install "${omniconv_packages[@]}" || echo "gpu_report: going on with what is there" >&2
set +e  # from here on failures are counted
section machine
for name in "${sections[@]}"; do
  section "$name"
  [ -x "$omniconv" ] || { cat "$work/build.txt" >&2; echo "gpu_report: no $omniconv: build it first" >&2; exit 1; }
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "gpu_report: wrote $report; failed: ${failed[*]}" >&2
  exit 1
fi
echo "gpu_report: wrote $report"
