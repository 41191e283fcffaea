#!/bin/bash
# Times an exact search for the 200 nearest of 50,000 rows to each of 10,000 in Cleave and in PyTorch, in turns. First
# checks that they find neighbours of the same similarity.
#   bench/compare_knn.sh [ROUNDS]
# PYTHON is an interpreter that has torch (default python3), THREADS goes to both programs. See docs/bench.md.
set -eu

rounds=${1:-7}
here=$(cd "$(dirname "$0")" && pwd)
ours=${BENCH_KNN:-$here/../build/release/bench/bench_knn}
theirs=("${PYTHON:-python3}" "$here/peers/torch_knn.py")
threads=(--threads "${THREADS:-2}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$here/turns.sh"

"$ours" "${threads[@]}" --export "$work/knn"
"${theirs[@]}" "${threads[@]}" --check "$work/knn"
rm "$work/knn"
cleave=("$ours" "${threads[@]}" --serve)
torch=("${theirs[@]}" "${threads[@]}" --serve)
torch_tuned=("${tuned[@]}" "${theirs[@]}" "${threads[@]}" --serve)
race "$rounds"
header
results knn
