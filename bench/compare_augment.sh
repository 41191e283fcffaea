#!/bin/bash
# Times views of moco-v2, moco-cifar and eval on one thread in Cleave and in torchvision on Pillow, in turns. First checks
# that both give the same view by eval, whose numbers are not random.
#   bench/compare_augment.sh [ROUNDS]
# PYTHON is an interpreter that has torch and torchvision (default python3). See docs/bench.md.
set -eu

rounds=${1:-11}
here=$(cd "$(dirname "$0")" && pwd)
ours=${BENCH_AUGMENT:-$here/../build/release/bench/bench_augment}
theirs=("${PYTHON:-python3}" "$here/peers/torch_augment.py")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$here/turns.sh"

"$ours" --export "$work/view"
"${theirs[@]}" --check "$work/view"
header
for preset in moco-v2 moco-cifar eval; do
    cleave=("$ours" --serve "$preset")
    torch=("${theirs[@]}" --serve "$preset")
    torch_tuned=("${tuned[@]}" "${theirs[@]}" --serve "$preset")
    race "$rounds"
    results "$preset"
done
