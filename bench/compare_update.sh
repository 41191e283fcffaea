#!/bin/bash
# Times updates of 25.6 million parameters in Cleave and in PyTorch, in turns: the momentum encoder alone, SGD alone, and
# both. First checks that they compute the same.
#   bench/compare_update.sh [ROUNDS] [WHAT...]        WHAT: ema, sgd, sgd+ema (default: all)
# PYTHON is an interpreter that has torch (default python3), THREADS goes to both programs. See docs/bench.md.
set -eu

rounds=${1:-21}
shift $(($# > 0 ? 1 : 0))
[ $# -gt 0 ] || set -- ema sgd sgd+ema
here=$(cd "$(dirname "$0")" && pwd)
ours=${BENCH_UPDATE:-$here/../build/release/bench/bench_update}
theirs=("${PYTHON:-python3}" "$here/peers/torch_update.py")
threads=(--threads "${THREADS:-2}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$here/turns.sh"

for what; do
    "$ours" "$what" "${threads[@]}" --export "$work/update"
    "${theirs[@]}" "$what" "${threads[@]}" --check "$work/update"
done
rm "$work/update"
header
for what; do
    cleave=("$ours" "$what" "${threads[@]}" --serve)
    torch=("${theirs[@]}" "$what" "${threads[@]}" --serve)
    torch_tuned=("${tuned[@]}" "${theirs[@]}" "$what" "${threads[@]}" --serve)
    race "$rounds"
    results "$what"
done
