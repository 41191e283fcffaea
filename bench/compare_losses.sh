#!/bin/bash
# Times losses, value and gradients, in Cleave and in PyTorch on this machine, taking turns: cleave, torch, torch-tuned,
# cleave, ... First checks, loss by loss, that they compute the same on the same inputs.
#   bench/compare_losses.sh [ROUNDS [LOSS...]]      default: 21 rounds of every loss of bench_losses
# A LOSS may name another of PyTorch's forms after a colon: mochi:rows.
# THREADS is how many each gets (default: as many as they take), PYTHON an interpreter that has torch (default python3),
# BENCH_LOSSES our program. See docs/bench.md.
set -eu

rounds=${1:-21}
shift $(($# > 0 ? 1 : 0))
here=$(cd "$(dirname "$0")" && pwd)
threads=${THREADS:-0}
ours=("${BENCH_LOSSES:-$here/../build/release/bench/bench_losses}" --threads "$threads")
theirs=("${PYTHON:-python3}" "$here/peers/torch_losses.py" --threads "$threads")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$here/turns.sh"

[ $# -gt 0 ] || mapfile -t losses < <("${ours[@]}" --list)
[ $# -eq 0 ] || losses=("$@")

for loss in "${losses[@]}"; do
    "${ours[@]}" --export "${loss%%:*}" >"$work/$loss"
    "${theirs[@]}" --check "$loss" "$work/$loss"
done
header
for loss in "${losses[@]}"; do
    cleave=("${ours[@]}" --serve "${loss%%:*}")
    torch=("${theirs[@]}" --serve "$loss" "$work/$loss")
    torch_tuned=("${tuned[@]}" "${torch[@]}")
    race "$rounds"
    results "$loss"
done
echo "ratio: torch's median time over ours; above 1 Cleave is faster. $rounds rounds, in turns."
