#!/bin/bash
# Times one training step (or, with --infer, one batch of inference) of Cleave and of PyTorch on this machine, taking
# turns so that whatever else happens on it hits both: cleave, torch, torch-tuned, cleave, ... First checks that they
# compute the same step.
#   bench/compare.sh [ROUNDS] [OPTION...]        options go to both programs: --batch 64, --threads 2, --stem, --size,
#                                              --backbone, --precision bf16, --infer
# PYTHON is an interpreter that has torch (default python3), BENCH_STEP our program. See docs/bench.md.
set -eu

rounds=${1:-7}
shift $(($# > 0 ? 1 : 0))
here=$(cd "$(dirname "$0")" && pwd)
ours=${BENCH_STEP:-$here/../build/release/bench/bench_step}
theirs=("${PYTHON:-python3}" "$here/peers/torch_step.py")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$here/turns.sh"

# A smaller batch does for the check, which also computes the step in float64 (the last --batch counts).
small=${CHECK_BATCH:-128}
"$ours" "$@" --batch "$small" --export "$work/step"
echo "same step, batch $small:"
"${theirs[@]}" "$@" --batch "$small" --check "$work/step"

cleave=("$ours" "$@" --serve)
torch=("${theirs[@]}" "$@" --serve)
torch_tuned=("${tuned[@]}" "${theirs[@]}" --channels-last "$@" --serve)     # and images last
race "$rounds"
header
results step
echo "ratio: torch's median time over ours; above 1 Cleave is faster. $rounds rounds, in turns."
