#!/usr/bin/env bash
# Installs build/cpu into a folder of its own, builds examples/classify against it and compares what it says of pictures
# with eval; then checks that Doxygen has nothing to complain of. Usage: scripts/check_package.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/install.sh

omniconv_install "${omniconv_packages[@]}" doxygen
omniconv_build cpu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install build/cpu --prefix "$work/installed" >/dev/null
cmake -S examples/classify -B "$work/classify" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$work/installed" >/dev/null
cmake --build "$work/classify"

omniconv=$work/installed/bin/omniconv
"$omniconv" synth --out "$work/data" --train 200 --test 20 >/dev/null
"$omniconv" train --data "$work/data" --width 8 --kernels 2 --batch-size 20 --epochs 4 --temperature 1 \
  --attention-init zero --out "$work/run" >/dev/null
checkpoint=$work/run/last.safetensors

# The test images as pictures (in their file: a label, then planes of red, green and blue), classified one by one.
hits=0
for image in {0..19}; do
  label=$(perl -e 'binmode STDIN; binmode STDERR; local $/;
                   my ($label, @pixels) = unpack "C*", substr <STDIN>, 3073 * shift, 3073;
                   print $label;
                   print STDERR "P6 32 32 255\n", map { chr } map { my $p = $_; map { $pixels[1024 * $_ + $p] } 0 .. 2 }
                                                   0 .. 1023' \
    "$image" <"$work/data/test_batch.bin" 2>"$work/picture.ppm")
  class=$("$work/classify/classify" "$checkpoint" "$work/picture.ppm")
  [ "$class" != "class $label" ] || hits=$((hits + 1))
done
echo "classify is right about $hits of 20 pictures"
"$omniconv" eval --checkpoint "$checkpoint" --data "$work/data" --json 2>/dev/null |
  perl -ne "/\"test_accuracy\":([0-9.e-]+)/ or exit 1; exit(abs(\$1 * 20 - $hits) < 0.01 ? 0 : 1)" ||
  { echo "check_package: classify and eval disagree" >&2; exit 1; }
if "$work/classify/classify" "$checkpoint" "$work/data/test_batch.bin" 2>/dev/null; then
  echo "check_package: classify took a file that is no picture" >&2
  exit 1
fi

(cat docs/Doxyfile && echo "OUTPUT_DIRECTORY = $work/doxygen") | doxygen - >/dev/null
echo "Doxygen: no warnings"
