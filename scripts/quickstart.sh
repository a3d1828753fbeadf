#!/usr/bin/env bash
# Installs, builds, trains a small ODResNet and evaluates it.
#
# Usage: scripts/quickstart.sh [--data DIR] [--epochs N]
#   --data DIR   a folder with CIFAR-10's binary version; a synthetic data set without it
#   --epochs N   epochs to train (default 6)
set -euo pipefail
cd "$(dirname "$0")/.."

data=synthetic
epochs=6
while [ $# -gt 0 ]; do
  case "$1" in
    --data | --epochs)
      [ $# -ge 2 ] || { echo "quickstart: $1 needs a value" >&2; exit 2; }
      if [ "$1" = --data ]; then data=$(realpath -m "$2"); else epochs=$2; fi
      shift 2
      ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "quickstart: unknown option $1 (try --help)" >&2; exit 2 ;;
  esac
done

source scripts/install.sh
omniconv_install "${omniconv_packages[@]}"
device=$(omniconv_device)
OMNICONV_TARGET=omniconv omniconv_build "$device"
omniconv=build/$device/omniconv
run=runs/quickstart

# Attention heads that start at zero learn from the first step at T = 1 (docs/odconv.md).
"$omniconv" train --data "$data" --model od_resnet18 --width 16 --kernels 4 --attention-init zero --temperature 1 \
  --epochs "$epochs" --out "$run"
echo
"$omniconv" eval --checkpoint "$run/best.safetensors" --data "$data"

cat <<TEXT

What next:
  $omniconv train --help                            every option
  $omniconv train --data DIR --out runs/cifar       the article's recipe: width 64, 200 epochs, T from 30 to 1
  $omniconv train --data $data --model resnet18 --width 16 --epochs $epochs --out runs/static
                                                    the static twin, to compare
  $omniconv bench --width 16 --batch-size 128       the price of a training step
TEXT
