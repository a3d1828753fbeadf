#!/usr/bin/env bash
# Trains the same net under several temperatures and recipes and prints a table row for each (docs/temperature.md).
#
# Usage: scripts/temperature_study.sh --data DIR [--width N] [--epochs N] [--out DIR] [--program FILE] [NAME...]
#   NAME...   only these rows; without names all of them
set -euo pipefail
cd "$(dirname "$0")/.."

width=16 epochs=10 out=runs/temperature-study program=build/cpu/omniconv data= names=()
while [ $# -gt 0 ]; do
  case "$1" in
    --data | --width | --epochs | --out | --program)
      [ $# -ge 2 ] || { echo "temperature_study: $1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"
      shift 2
      ;;
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "temperature_study: unknown option $1 (try --help)" >&2; exit 2 ;;
    *) names+=("$1"); shift ;;
  esac
done
[ -n "$data" ] || { echo "temperature_study: expected --data DIR" >&2; exit 2; }

declare -A options=(
  [early-fall]="--temperature 30:1:2"
  [early-fall-guarded]="--temperature 30:1:2 --temperature-guard"
  [early-harmonic]="--temperature 30:1:2:harmonic"
  [article]="--recipe article"
  [article-guarded]="--recipe article --temperature-guard"
  [high-end]="--temperature 30:5:8"
  [article-harmonic]="--temperature 30:1:$epochs:harmonic"
  [held-high]="--temperature 30"
  [constant]="--temperature 1"
  [zero-init]="--temperature 1 --attention-init zero"
  [progressive]="--stages progressive"
  [progressive-article]="--stages progressive --attention-init kaiming --temperature 30:1:10"
  [strong]="--recipe strong"
  [fast]="--recipe fast"
  [static]="--model resnet18"
)
order=(early-fall early-fall-guarded early-harmonic article article-guarded article-harmonic high-end held-high
       constant zero-init progressive progressive-article strong fast static)
[ ${#names[@]} -gt 0 ] || names=("${order[@]}")

mkdir -p "$(dirname "$out")"
echo "| run | options | last test accuracy | best | train loss |"
echo "|---|---|---|---|---|"
for name in "${names[@]}"; do
  # The words of an entry are options of their own.
  # shellcheck disable=SC2086
  "$program" train --data "$data" --width "$width" --epochs "$epochs" ${options[$name]} --out "$out/$name" --json \
    2> "$out.$name.log" |
    python3 -c '
import json, sys
r = json.load(sys.stdin)
print("| {} | `{}` | {:.3f} | {:.3f} | {:.3f} |".format(
    sys.argv[1], sys.argv[2], r["test_accuracy"], r["best_test_accuracy"], r["train_loss"]))' "$name" "${options[$name]}"
done
