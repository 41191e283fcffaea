#!/bin/bash
# Times one step of MoCo v2 in Cleave and in PyTorch, in turns. First checks that they compute the same step.
#   bench/compare_moco.sh [ROUNDS] [OPTION...]        options go to both programs: --backbone, --stem, --size, --batch,
#                                                     --queue, --threads
# PYTHON is an interpreter that has torch (default python3), CHECK_BATCH the batch of the check. See docs/bench.md.
set -eu

rounds=${1:-7}
shift $(($# > 0 ? 1 : 0))
here=$(cd "$(dirname "$0")" && pwd)
ours=${BENCH_MOCO:-$here/../build/release/bench/bench_moco}
theirs=("${PYTHON:-python3}" "$here/peers/torch_moco.py")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$here/turns.sh"

small=${CHECK_BATCH:-64}
"$ours" "$@" --batch "$small" --export "$work/step"
"${theirs[@]}" "$@" --batch "$small" --check "$work/step"
rm "$work/step"
cleave=("$ours" "$@" --serve)
torch=("${theirs[@]}" "$@" --serve)
torch_tuned=("${tuned[@]}" "${theirs[@]}" --channels-last "$@" --serve)
race "$rounds"
header
results moco
