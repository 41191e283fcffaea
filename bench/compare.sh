#!/bin/bash
# Times one training step of Cleave and of PyTorch on this machine, taking turns so that whatever else happens on it
# hits both: cleave, torch, torch-tuned, cleave, ... First checks that they compute the same step.
#   bench/compare.sh [ROUNDS] [OPTION...]        options go to both programs: --batch 64, --threads 2, --stem, --size
# PYTHON is an interpreter that has torch (default python3), BENCH_STEP our program. See docs/bench.md.
set -eu

rounds=${1:-7}
shift $(($# > 0 ? 1 : 0))
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
ours=${BENCH_STEP:-$here/../build/release/bench/bench_step}
theirs=$here/peers/torch_step.py
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What PyTorch's users are told to set: images last, huge pages, an allocator that keeps its memory, AVX-512.
tuned=(env GLIBC_TUNABLES=glibc.malloc.hugetlb=1 MALLOC_TOP_PAD_=268435456 MALLOC_MMAP_THRESHOLD_=17179869184
       MALLOC_TRIM_THRESHOLD_=17179869184 THP_MEM_ALLOC_ENABLE=1 ATEN_CPU_CAPABILITY=avx512)

# A smaller batch does for the check, which also computes the step in float64 (the last --batch counts).
"$ours" "$@" --batch 128 --export "$work/step"
echo "same step, batch 128:"
"$python" "$theirs" "$@" --batch 128 --check "$work/step"

start() {       # start NAME COMMAND...: a program that makes one step for each line
    local name=$1
    shift
    mkfifo "$work/$name.in" "$work/$name.out"
    "$@" --serve <"$work/$name.in" >"$work/$name.out" &
}

start a "$ours" "$@"
start b "$python" "$theirs" "$@"
start c "${tuned[@]}" "$python" "$theirs" --channels-last "$@"
exec {a_in}>"$work/a.in" {a_out}<"$work/a.out"
exec {b_in}>"$work/b.in" {b_out}<"$work/b.out"
exec {c_in}>"$work/c.in" {c_out}<"$work/c.out"

turn() {        # turn NAME IN OUT: one step, its seconds
    echo >&"$2"
    read -r seconds <&"$3" || { echo "$1 stopped without an answer" >&2; return 1; }
    echo "$seconds"
}

for round in $(seq -2 "$rounds"); do        # rounds below 1 warm up
    a=$(turn cleave "$a_in" "$a_out")
    b=$(turn torch "$b_in" "$b_out")
    c=$(turn torch-tuned "$c_in" "$c_out")
    [ "$round" -lt 1 ] && continue
    echo "$a $b $c" >>"$work/times"
done
exec {a_in}>&- {b_in}>&- {c_in}>&-

summary() {     # summary COLUMN: median, smallest, largest
    awk -v c="$1" '{print $c}' "$work/times" | sort -n |
        awk '{t[NR] = $1} END {m = NR % 2 ? t[(NR + 1) / 2] : (t[NR / 2] + t[NR / 2 + 1]) / 2; print m, t[1], t[NR]}'
}

read -r ours_median ours_min ours_max <<<"$(summary 1)"
printf '%-12s %9s %9s %9s %8s\n' '' 'median s' 'min s' 'max s' 'ratio'
printf '%-12s %9.4f %9.4f %9.4f\n' cleave "$ours_median" "$ours_min" "$ours_max"
column=2
for name in torch torch-tuned; do
    read -r median min max <<<"$(summary $column)"
    ratio=$(awk -v a="$median" -v b="$ours_median" 'BEGIN {printf "%.2f", a / b}')
    printf '%-12s %9.4f %9.4f %9.4f %8s\n' "$name" "$median" "$min" "$max" "$ratio"
    column=$((column + 1))
done
echo "ratio: torch's median time over ours; above 1 Cleave is faster. $rounds rounds, in turns."
